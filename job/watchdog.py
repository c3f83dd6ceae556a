"""step: nobody waits for ever: a process that hangs or is frozen is named, and the job ends.

Every process tells all others, through the store at which they met, how far it is. Where nothing
has moved for too long, those who wait find out whom they wait for, print where that one stands, and
end with exit code 79.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Protocol

TIMED_OUT = 79
KEY = "graphmtl/watchdog/{}"
ANSWER_SECONDS, KILL_SECONDS = 3.0, 2.0
MAX_FRAMES = 12


class Store(Protocol):
    """What all processes read and write: torch's."""

    def set(self, key: str, value: str) -> None:
        """Put a value in."""
        ...

    def get(self, key: str) -> bytes:
        """Return a value."""
        ...

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys have values."""
        ...


@dataclass(frozen=True)
class Sign:
    """What a process last said of itself."""

    count: int
    """Exchanges with all others that it has come to."""
    beats: int
    """How often it has gone on."""
    number: int
    """Signs given."""
    pid: int
    host: str
    stack: str
    """Where its main thread stands."""


class Watchdog:
    """Watches over the progress of one process, and of those that it waits for.

    Args:
        store: a connection of its own.
        rank: of this process.
        world_size: processes.
        seconds: without progress, after which the job ends.
    """

    def __init__(self, store: Store, rank: int, world_size: int, seconds: float) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        self._seconds, self._interval = seconds, min(seconds / 4, 5.0)
        self._count, self._beats, self._number, self._last = 0, 0, 0, time.monotonic()
        self._main = threading.main_thread().ident
        self._host: dict[int, Sign] = {}  # of process 0, where the store lives: frozen, both are
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self, meet: Callable[[], object]) -> None:
        """Begin to watch; from here on the others know who this is.

        Args:
            meet: waits until all processes have come to it.
        """
        self._tell()
        meet()
        self._host = self._signs([0])
        self._last = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def exchange(self) -> None:
        """Say that this process has come to an exchange with all others."""
        self._count += 1
        self.beat()

    def beat(self) -> None:
        """Say that this process goes on."""
        self._beats += 1
        self._last = time.monotonic()

    def _watch(self) -> None:
        woken = time.monotonic()
        while not self._over.wait(self._interval):
            now = time.monotonic()
            if now - woken > 3 * self._interval + 2 * ANSWER_SECONDS:
                self._last = now  # we were frozen ourselves: the others may have waited for us
            woken = now
            self._tell()
            if now - self._last > self._seconds:
                self._end()
            else:
                self._host = self._signs([0]) or self._host

    def _tell(self) -> None:
        self._number += 1
        place = os.getpid(), socket.gethostname(), self._stack()
        sign = Sign(self._count, self._beats, self._number, *place)
        _answer(lambda: self._store.set(KEY.format(self._rank), json.dumps(asdict(sign))))

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._main or 0)
        return "".join(traceback.format_stack(frame)[-MAX_FRAMES:])

    def _end(self) -> None:
        """Say who is missing, end it where it is frozen, and end this process."""
        everyone = range(self._world_size)
        before = self._signs(everyone)
        for _ in range(4 if before else 0):  # who lives gives another sign meanwhile
            time.sleep(self._interval / 2)
            self._tell()
        now = self._signs(everyone)
        if not now:
            before = now = self._host
        others = {rank: sign.beats for rank, sign in now.items() if rank != self._rank}
        if any(beats != before[rank].beats for rank, beats in others.items() if rank in before):
            self._last = time.monotonic()  # who is waited for is at work
        if self._over.is_set() or time.monotonic() - self._last < self._seconds:
            return
        text, frozen = report(before, now, self._rank, self._world_size, self._seconds)
        print(text, file=sys.stderr, flush=True)
        host = socket.gethostname()
        pids = [now[rank].pid for rank in frozen if rank in now and now[rank].host == host]
        if pids and not os.fork():  # after this process has ended: its exit code explains theirs
            time.sleep(KILL_SECONDS)
            for pid in pids:
                with suppress(ProcessLookupError):  # another one that waited has ended it
                    os.kill(pid, signal.SIGKILL)
            os._exit(0)
        os._exit(TIMED_OUT)

    def _signs(self, ranks: Iterable[int]) -> dict[int, Sign]:
        """Return the last sign of each process that has given one; none if the store is silent."""
        found: dict[int, Sign] = {}

        def read() -> None:
            for rank in ranks:
                if self._store.check([KEY.format(rank)]):
                    found[rank] = Sign(**json.loads(self._store.get(KEY.format(rank))))

        _answer(read)
        return found


def report(
    before: Mapping[int, Sign], now: Mapping[int, Sign], rank: int, world_size: int, seconds: float
) -> tuple[str, list[int]]:
    """Say whom a process waits for, and where those stand.

    Args:
        before: signs of all processes, a while ago.
        now: the same, now.
        rank: of the process that reports.
        world_size: processes.
        seconds: that nothing has moved.

    Returns:
        The text, and the processes that give no more signs.
    """
    frozen = [r for r in range(world_size) if r not in now or now[r] == before.get(r)]
    if rank not in now:  # the store, which lives in process 0, no longer answers
        frozen = [0]
    frozen = [r for r in frozen if r != rank]
    slowest = min((sign.count for sign in now.values()), default=0)
    behind = [r for r, sign in now.items() if sign.count == slowest and r not in frozen]
    lines = [f"process {rank}: nothing has moved for {seconds:g} s (train.timeout_seconds)"]
    if frozen:
        suspects = frozen
        lines.append(f"no sign of life from {_processes(frozen, now)}: frozen, or out of reach")
    elif len(behind) < len(now):
        suspects = behind
        lines.append(
            f"the others wait for {_processes(behind, now)}, which has not come to what they are at"
        )
    else:
        suspects = sorted(now)
        lines.append("all processes are alive and equally far; this is where they stand")
    for suspect in suspects:
        stack = now[suspect].stack if suspect in now else "  it never gave a sign\n"
        lines.append(f"process {suspect} stands at:\n{stack.rstrip()}")
    return "\n".join(lines), frozen


def _processes(ranks: list[int], signs: Mapping[int, Sign]) -> str:
    named = [
        f"{rank} (pid {signs[rank].pid} on {signs[rank].host})" if rank in signs else str(rank)
        for rank in ranks
    ]
    return f"process{'es' * (len(ranks) > 1)} {', '.join(named)}"


def _answer(ask: Callable[[], object]) -> None:
    """Ask the store, whose own process may be frozen, or gone: wait for its answer for a while."""

    def asked() -> None:
        with suppress(RuntimeError):  # of the connection
            ask()

    thread = threading.Thread(target=asked, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
