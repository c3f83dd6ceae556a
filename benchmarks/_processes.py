"""The processes of one job: started, watched, pinned to cores, ended."""

import ctypes
import mmap
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.2
TIMEOUT_SECONDS = 1800.0
STOPPED = (0, 75, -signal.SIGTERM)
"""Exit codes of a process that was asked to end: done, stopped, ended by the signal."""


class JobError(Exception):
    """A process of a job failed; shows the end of what it printed."""


class Ranks:
    """The ranks of one job, each a process, as torchrun would start them; ended on leaving.

    Args:
        command: program and arguments.
        folder: working directory; what each rank prints goes to `rank0.log` there.
        num_ranks: one is started without what torchrun tells, unless `alone` is False.
        cores: the cores that each rank may use; default: all.
        prefix: put before the command, to start it inside something.
        alone: whether a single rank is told nothing of ranks.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        num_ranks: int = 1,
        cores: Sequence[int] | None = None,
        prefix: Sequence[str] = (),
        *,
        alone: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environments: list[dict[str, str]] = [{}]
        if num_ranks > 1 or not alone:
            environments = _environments(num_ranks)
        self._folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        for rank, environment in enumerate(environments):
            pinned = ["taskset", "-c", str(cores[rank])] if cores else []
            with (folder / f"rank{rank}.log").open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [*prefix, *pinned, sys.executable, "-W", "ignore", *command],
                        cwd=folder,
                        env={**os.environ, **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def alive(self) -> bool:
        """Return whether all go on.

        Raises:
            JobError: one has failed.
        """
        codes = [process.poll() for process in self.processes]
        for rank, code in enumerate(codes):
            if code not in (None, *STOPPED):
                text = (self._folder / f"rank{rank}.log").read_text(errors="replace")
                raise JobError(f"rank {rank} ended with {code}:\n{text[-3000:]}")
        return None in codes

    def wait(self) -> None:
        """Wait until all have ended.

        Raises:
            JobError: one has failed, or it takes too long.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.alive():
            if time.monotonic() > deadline:
                raise JobError(f"not done after {TIMEOUT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ask all to end, and wait until they have."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        self.wait()

    def memory(self) -> int:
        """Return the bytes that the ranks have together besides mapped files (PSS, anonymous)."""
        return sum(map(_anonymous_bytes, self.processes))


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a temporary folder, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="graphmtl-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """Return the largest resident set that a process has had so far; 0 when it is gone.

    `ru_maxrss` will not do: a child begins with that of its parent.
    """
    return _kilobytes(process, "status", "VmHWM:") * 1024


def cached_bytes(folder: Path) -> int:
    """Return how much of the files of a folder is in the page cache."""
    libc, page, cached = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE, 0
    for path in folder.iterdir():
        if not path.stat().st_size:
            continue
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)
        resident = (ctypes.c_ubyte * -(-len(pages) // page))()
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        if libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(len(pages)), resident):
            raise OSError(ctypes.get_errno(), "mincore")
        cached += page * sum(value & 1 for value in resident)
    return cached


def _anonymous_bytes(process: subprocess.Popen[bytes]) -> int:
    return _kilobytes(process, "smaps_rollup", "Pss_Anon:") * 1024


def _kilobytes(process: subprocess.Popen[bytes], file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _environments(num_ranks: int) -> list[dict[str, str]]:
    """Return what torchrun would tell each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    size = str(num_ranks)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    shared |= {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // num_ranks))}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
