"""launch: torchrun inside this process, so that the workers' own exit codes come through.

torchrun as a command turns every worker's exit code, and SIGTERM, into 1, and restarts on any.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
)
from torch.distributed.run import parse_args, run

BUG = 70
TIMED_OUT = 79
DECIDED = {64, 65, 73, 75, 76, 77, 78}  # an ending that no other rank's ending brings about
LONGEST_PAUSE_SECONDS = 60
MEET_PAUSE_SECONDS = 2
MEET_SECONDS = 900  # machines of one job may start as far apart as images take to arrive


def supervise(command: list[str], run_dir: Path, max_restarts: int) -> int:
    """Run the workers, again where that may help, and return the exit code of the last start.

    Args:
        command: torchrun's arguments, with the script and its arguments.
        run_dir: where the job leaves exit.json.
        max_restarts: starts after the first one.
    """
    exit_file = run_dir / "exit.json"
    restart = 0
    while True:
        before = _version(exit_file)
        try:
            code = start(command)
            if restart >= max_restarts or not worth_restarting(code):
                return code
            pause = min(2**restart, LONGEST_PAUSE_SECONDS)
            restart += 1
            _say(f"exit code {code}; restart {restart} of {max_restarts} in {pause} s")
            time.sleep(pause)
        except SignalException as stop:
            if _version(exit_file) != before:
                return int(json.loads(exit_file.read_text())["code"])
            return 128 + int(stop.sigval)


def start(command: list[str]) -> int:
    """Run all workers once and return 0 or the exit code that explains the failure.

    A start that fails closes its rendezvous id for good. Where the store outlives it, on another
    machine, the machines and a replaced one meet again at the first id that is still open.
    """
    deadline = time.monotonic() + MEET_SECONDS
    attempt = 0
    while True:
        arguments = parse_args(command)  # type: ignore[no-untyped-call]
        arguments.rdzv_id = f"{arguments.rdzv_id}.{attempt}"
        try:
            run(arguments)  # type: ignore[no-untyped-call]
            return 0
        except RendezvousClosedError:
            attempt += 1
        except ChildFailedError as error:
            failures = error.failures
            code = cause(as_exit_code(failure.exitcode) for failure in failures.values())
            ranks = ", ".join(f"rank {r}: {as_exit_code(f.exitcode)}" for r, f in failures.items())
            _say(f"workers failed ({ranks})")
            return code
        except RendezvousConnectionError as error:
            if time.monotonic() > deadline:
                _say(f"the first machine does not answer: {error}")
                return TIMED_OUT
            attempt = 0  # a store that went away comes back with all ids open
            _say(f"waiting for the first machine at {arguments.rdzv_endpoint}")
            time.sleep(MEET_PAUSE_SECONDS)
        except RendezvousError as error:
            _say(f"the machines did not meet: {error}")
            return TIMED_OUT


def worth_restarting(code: int) -> bool:
    """Tell whether the same command may end better: after a signal, a bug or a lost peer."""
    return code > 128 or code in (BUG, TIMED_OUT)


def cause(codes: Iterable[int]) -> int:
    """Choose the code that explains the others, given in the order in which workers failed.

    A rank that ends on purpose takes its peers along, and with one look every 0.1 s torchrun may
    see a peer first: it lost the rank (70, 79), or was stopped by torchrun itself (143, 137).
    """
    return min(codes, key=lambda code: code not in DECIDED)


def as_exit_code(returncode: int) -> int:
    """Write a signal n as 128 + n, as shells do."""
    return returncode if returncode >= 0 else 128 - returncode


def _version(path: Path) -> tuple[int, int] | None:
    """Tell one writing of a file from the next, whatever the clocks of a shared disk say."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _say(message: str) -> None:
    print(f"launch: {message}", file=sys.stderr, flush=True)
