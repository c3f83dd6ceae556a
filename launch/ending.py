"""launch: which of the workers' endings explains the others."""

import signal
import socket
from collections.abc import Collection
from dataclasses import dataclass

BUG = 70
STOPPED = 75
TIMED_OUT = 79
MEANINGS = {
    0: "done",
    64: "configuration",
    65: "data",
    BUG: "bug",
    73: "cannot write",
    STOPPED: "stopped and resumable",
    76: "non-finite numbers",
    77: "refused",
    78: "run directory in use",
    TIMED_OUT: "collective timed out",
}
DECIDED = {64, 65, 73, 76, 77, 78}  # an ending that no other rank's ending brings about


@dataclass(frozen=True)
class Failure:
    """How one worker of this machine ended."""

    rank: int
    pid: int
    code: int
    """As shells write it: 128 + n for signal n."""
    seen: int
    """When torchrun saw it, in whole seconds."""
    spoke: float
    """When its last line came."""
    tail: Collection[str]
    """The last lines that it printed to stderr."""


def first(failures: Collection[Failure]) -> Failure:
    """Choose the failure that explains the others.

    A rank that fails takes its peers along, and with one look every 0.1 s torchrun may see a peer
    first. That one lost the rank (70, 79), or was stopped by torchrun (143; 75 where it was still
    starting), and said so later than the rank itself said anything.
    """

    def place(f: Failure) -> tuple[bool, int, bool, float, int]:
        return f.code not in DECIDED, f.seen, f.code == 143, f.spoke, f.rank

    return min(failures, key=place)


def describe(failures: Collection[Failure]) -> str:
    """Name the first failure, with its last words where others may have drowned them."""
    cause = first(failures)
    lines = [
        f"rank {cause.rank} failed{' first' * (len(failures) > 1)}: {meaning(cause.code)}, "
        f"pid {cause.pid} on {socket.gethostname()}"
    ]
    if len(failures) > 1 and cause.code not in DECIDED | {STOPPED}:  # those are told by one process
        lines += [f"    {line}" for line in cause.tail]
    others = [f"rank {f.rank}: {f.code}" for f in failures if f is not cause]
    return "\n".join(lines + [f"then {', '.join(others)}"] * bool(others))


def meaning(code: int) -> str:
    """Write an exit code for people."""
    meanings = MEANINGS | {128 + number: number.name for number in signal.Signals}
    return f"exit code {code} ({meanings[code]})" if code in meanings else f"exit code {code}"


def as_exit_code(returncode: int) -> int:
    """Write a signal n as 128 + n, as shells do."""
    return returncode if returncode >= 0 else 128 - returncode


def worth_restarting(code: int) -> bool:
    """Tell whether the same command may end better: after a signal, a bug or a lost peer."""
    return code > 128 or code in (BUG, TIMED_OUT)
