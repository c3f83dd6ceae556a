"""Fixtures that every test may use: folders, and the job as people start it.

Real processes, with a working directory of their own, and never a hang.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

# Before torch is imported anywhere: threads that spin while they wait make a busy machine crawl
# (a test of one second took eighty). Commands do the same for themselves.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
ROOT = Path(__file__).parents[1]
SMOKE = [
    str(ROOT / "job" / "configs" / "smoke.yaml"),
    *("graph.num_nodes=300", "train.epochs=1", "track.every_steps=1"),
    *("track.mlflow=null", "track.report=false"),
]
TIMEOUT_SECONDS = 240


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted graphs of one test session live, and are shared, in a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real datasets, kept beside the project; GRAPHMTL_DATA names another folder."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GRAPHMTL_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no datasets at {folder} (set GRAPHMTL_DATA)")
    return folder


@dataclass
class Ending:
    """How a job ended: the exit codes of its processes, and what all of them printed."""

    codes: list[int]
    stdout: str
    stderr: str

    @property
    def code(self) -> int:
        """The exit code that all processes share."""
        (code,) = set(self.codes)
        return code


class Server:
    """The process that job processes are forked from."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **order: object) -> int:
        """Send an order and return the number that answers it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        print(json.dumps(order), file=stdin, flush=True)
        return int(stdout.readline())


@dataclass
class Job:
    """The processes of a job that is running, rank 0 first."""

    server: Server
    pids: list[int]
    outputs: list[tuple[Path, Path]]

    def kill(self, rank: int, number: int = signal.SIGTERM) -> None:
        """Send a signal to one process."""
        os.kill(self.pids[rank], number)

    def over(self) -> bool:
        """Return whether all processes have ended."""
        states = (Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1] for pid in self.pids)
        return all(state.split()[0] == "Z" for state in states)

    def end(self) -> Ending:
        """Wait for all processes."""
        codes = [self.server.ask(wait=pid, timeout=TIMEOUT_SECONDS + 9) for pid in self.pids]
        stdout, stderr = (
            "".join(p.read_text() for p in files) for files in zip(*self.outputs, strict=True)
        )
        return Ending(codes, stdout, stderr)


@pytest.fixture(scope="session")
def job_server(cache_home: Path) -> Iterator[Server]:
    """Import torch once for all jobs of the session."""
    command = [sys.executable, str(ROOT / "tests" / "end_to_end" / "prefork.py")]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Server(process)


@pytest.fixture(scope="session")
def start(job_server: Server) -> Callable[..., Job]:
    """Start job/train.py (or another command) in a folder, as ranks that no agent looks after.

    The last rank alone gets SIGTERM in the step `stop_at`, or in the first "evaluation".
    """

    def start(
        cwd: Path,
        *argv: str,
        nproc: int = 1,
        script: str = "job/train.py",
        stop_at: int | str | None = None,
    ) -> Job:
        ranks = environments(nproc)
        number = len(list(cwd.glob("*.out")))
        outputs = [(cwd / f"{number}.{r}.out", cwd / f"{number}.{r}.err") for r in range(nproc)]
        for path in (path for pair in outputs for path in pair):
            path.touch()
        pids = [
            job_server.ask(
                argv=[str(ROOT / script), *argv],
                cwd=str(cwd),
                env=environment,
                stdout=str(stdout),
                stderr=str(stderr),
                timeout=TIMEOUT_SECONDS,
                stop_at=stop_at if rank == nproc - 1 else None,
            )
            for rank, (environment, (stdout, stderr)) in enumerate(zip(ranks, outputs, strict=True))
        ]
        return Job(job_server, pids, outputs)

    return start


@pytest.fixture(scope="session")
def train(start: Callable[..., Job]) -> Callable[..., Ending]:
    """Run job/train.py with smoke.yaml, shrunk, and overrides; return how it ended."""
    return lambda cwd, *overrides, nproc=1, stop_at=None: start(
        cwd, *SMOKE, *overrides, nproc=nproc, stop_at=stop_at
    ).end()


def environments(nproc: int) -> list[dict[str, str]]:
    """Return what torchrun would tell each rank; nothing for one process."""
    if nproc == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"WORLD_SIZE": nproc, "LOCAL_WORLD_SIZE": nproc}
    ranks = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in range(nproc)]
    return [{name: str(value) for name, value in rank.items()} for rank in ranks]


@pytest.fixture(scope="session")
def command(cache_home: Path) -> Callable[..., Callable[[], Ending]]:
    """Start a program in a folder, with a whole interpreter of its own; call what it returns to
    wait for its end. Signals go to `.process`.
    """

    class Program:
        def __init__(self, cwd: Path, *argv: str) -> None:
            self.files = [(cwd / f"program.{name}").open("w+") for name in ("out", "err")]
            stdout, stderr = self.files
            self.process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=cwd,
                stdout=stdout,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

        def __call__(self) -> Ending:
            try:
                code = self.process.wait(TIMEOUT_SECONDS)
            finally:
                kill_group(self.process.pid)
            return Ending([code], *(read(file) for file in self.files))

    return Program


def kill_group(pid: int) -> None:
    """Leave nothing behind of a program that hangs."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def read(file: IO[str]) -> str:
    """Return all of an output, and close it."""
    with file:
        file.seek(0)
        return file.read()


@pytest.fixture(scope="session")
def wait_for_step() -> Callable[[Path, int], None]:
    """Wait until the metrics of a run directory show that a step is done."""

    def wait(run_dir: Path, step: int) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if last_step(run_dir / "metrics.jsonl") >= step:
                return
            time.sleep(0.005)
        raise TimeoutError(f"{run_dir} has not come to step {step}")

    return wait


def last_step(path: Path) -> int:
    """Return the step of the last whole line of metrics.jsonl; -1 where there is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return int(json.loads(whole[-1])["step"]) if whole else -1
