"""runtime: one job owns a run directory; the lock goes with its process, however that ends."""

import fcntl
import os
import re
import socket
import time
from pathlib import Path

from mtl.errors import UserError

LOCK = ".lock"
ASIDE = re.compile(r"\.[^.].*\.(\d+)")
"""A file that is about to take the place of another, and the process that writes it."""
MAX_BYTES = 400
TRIES, PAUSE_SECONDS = 5, 0.1


class RunInUseError(UserError):
    """Another job owns the run directory."""

    exit_code = 78


def own(run_dir: Path) -> int:
    """Take the lock of a run directory, and say in it who has it.

    Nothing of an owner that is gone has to be taken over: the system frees its lock.

    Returns:
        What holds the lock, until it is closed or the process ends.

    Raises:
        RunInUseError: another job has it.
        OSError: the directory cannot be written, or its disk knows no locks.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    if not _is_free(lock):
        name = _named(lock)
        os.close(lock)
        raise RunInUseError(
            f"run.dir: {run_dir} is in use by {name}; wait for it or give this job a directory of "
            "its own (run.dir=...)"
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0)
    os.fsync(lock)  # other machines look who it is (job/mirror.py)
    _clear_up(run_dir)
    return lock


def owner(run_dir: Path) -> str | None:
    """Return who has the lock of a run directory; None where nobody has."""
    path = run_dir / LOCK
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(file.fileno())
    return None


def _clear_up(run_dir: Path) -> None:
    """Remove what processes that were killed had half written."""
    for path in run_dir.iterdir():
        writer = ASIDE.fullmatch(path.name)
        if writer and path.is_file() and not _is_alive(int(writer[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _is_free(lock: int) -> bool:
    """Take a lock, if it is free within an instant: `owner` may hold it for less than that."""
    for _ in range(TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_SECONDS)
        else:
            return True
    return False


def _named(lock: int) -> str:
    """Return what an owner says of itself."""
    return os.pread(lock, MAX_BYTES, 0).decode(errors="replace").strip() or "another job"
