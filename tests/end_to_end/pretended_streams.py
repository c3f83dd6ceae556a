"""Streams of a GPU that the CPU plays: all is done at once, and what might not have been is told.

What a stream, or the host, does is ordered after what it has waited for (vector clocks, as in
`torch.cuda._sanitizer`). Two that touch the same memory, of which one writes, must be ordered; and
memory that a stream has allocated is its own again when it is freed, unless `record_stream` says
who else has it.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field

HOST = -1
Clock = dict[int, int]
Access = tuple[int, int, str]
"""A stream, the number of what it did, and where in the code."""


@dataclass
class Memory:
    """A storage: which stream made it, who wrote and read it since, who was said to have it."""

    owner: int
    write: Access | None = None
    reads: list[Access] = field(default_factory=list)
    users: Clock = field(default_factory=dict)
    recorded: set[int] = field(default_factory=set)


class Streams:
    """What has been done in which order.

    Attributes:
        races: what was found, in words, each once.
    """

    def __init__(self, place: Callable[[], str]) -> None:
        self.races: dict[str, None] = {}
        self._place, self._lock, self._number = place, threading.RLock(), 0
        self._clocks: dict[int, Clock] = defaultdict(dict)
        self._memory: dict[int, Memory] = {}

    def does(
        self, stream: int, reads: Iterable[int], writes: Iterable[int], makes: Iterable[int]
    ) -> None:
        """Note that a stream reads, writes and allocates storages."""
        with self._lock:
            here = self._place()
            self._number += 1
            now = self._number
            clock = self._clocks[stream]
            if stream != HOST:  # the host has asked for it
                _merge(clock, self._clocks[HOST])
            clock[stream] = now
            for pointer in makes:
                self._given(pointer, stream, here)
                self._memory[pointer] = Memory(stream, write=(stream, now, here))
            for pointer in reads:
                memory = self._memory.setdefault(pointer, Memory(stream))
                self._check(clock, memory.write, "read", here)
                memory.reads.append((stream, now, here))
                memory.users[stream] = now
            for pointer in writes:
                memory = self._memory.setdefault(pointer, Memory(stream))
                for before in (memory.write, *memory.reads):
                    self._check(clock, before, "written", here)
                memory.write, memory.reads = (stream, now, here), []
                memory.users[stream] = now

    def _check(self, clock: Clock, before: Access | None, how: str, here: str) -> None:
        if before is not None and clock.get(before[0], 0) < before[1]:
            self.races[f"{how} by {here} while {before[2]} may not be done"] = None

    def _given(self, pointer: int, stream: int, here: str) -> None:
        """Note that memory is given to somebody, so it was freed."""
        memory = self._memory.pop(pointer, None)
        if memory is None:
            return
        known = dict(self._clocks[memory.owner])
        _merge(known, self._clocks[HOST])
        for user, when in memory.users.items():
            if user not in {memory.owner, *memory.recorded} and known.get(user, 0) < when:
                self.races[f"memory given to {here} while another stream has it"] = None

    def recorded(self, pointer: int, stream: int) -> None:
        """Note `record_stream`."""
        with self._lock:
            if pointer in self._memory:
                self._memory[pointer].recorded.add(stream)

    def state(self, stream: int) -> Clock:
        """Return what an event stands for that a stream records now."""
        with self._lock:
            return dict(self._clocks[stream])

    def waits(self, stream: int, state: Clock) -> None:
        """Note that a stream, or the host, goes on after an event."""
        with self._lock:
            _merge(self._clocks[stream], state)


def _merge(clock: Clock, other: Clock) -> None:
    for stream, number in other.items():
        clock[stream] = max(clock.get(stream, 0), number)


class Current(threading.local):
    """The stream of each thread."""

    stream: "Stream | None" = None


class Stream:
    """Stands for `torch.cuda.Stream`."""

    streams: Streams
    of_all: object
    default: "Stream"
    current = Current()
    count = 0

    def __init__(self, device: object = None, **_: object) -> None:
        self.device, self.number = Stream.of_all, Stream.count
        Stream.count += 1

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        event.wait(self)

    def wait_stream(self, stream: "Stream") -> None:
        self.streams.waits(self.number, self.streams.state(stream.number))

    def synchronize(self) -> None:
        self.streams.waits(HOST, self.streams.state(self.number))

    @classmethod
    def of_thread(cls, device: object = None) -> "Stream":
        """Stand for `torch.cuda.current_stream`."""
        return cls.current.stream or cls.default

    @classmethod
    @contextmanager
    def entered(cls, stream: "Stream | None"):
        """Stand for `torch.cuda.stream`."""
        before, cls.current.stream = cls.current.stream, stream or cls.current.stream
        try:
            yield
        finally:
            cls.current.stream = before


class Event:
    """Stands for `torch.cuda.Event`."""

    told: Callable[[str], None]

    def __init__(self, enable_timing: bool = False, **_: object) -> None:
        self._state: Clock = {}
        self._at = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self._at = time.perf_counter()
        self._state = Stream.streams.state((stream or Stream.of_thread()).number)

    def wait(self, stream: Stream | None = None) -> None:
        Stream.streams.waits((stream or Stream.of_thread()).number, self._state)

    def query(self) -> bool:
        Stream.streams.waits(HOST, self._state)
        return True

    def synchronize(self) -> None:
        type(self).told("Event.synchronize")
        Stream.streams.waits(HOST, self._state)

    def elapsed_time(self, end: "Event") -> float:
        return 1e3 * (end._at - self._at)
