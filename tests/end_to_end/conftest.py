"""The job as people start it: real processes, a working directory of their own, never a hang."""

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

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
TRAIN = str(ROOT / "job" / "train.py")
TINY = ["graph.num_nodes=300", "train.epochs=1", "track.every_steps=1"]
SILENT = ["track.mlflow=null", "track.report=false"]
TIMEOUT_SECONDS = 240
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
LAUNCHERS = {
    "python": [TRAIN],
    "torchrun2": [*TORCHRUN, "--nproc_per_node=2", TRAIN],
    "torchrun4": [*TORCHRUN, "--nproc_per_node=4", TRAIN],
    "accelerate": ["-m", "accelerate.commands.launch", TRAIN],
    "local": [str(ROOT / "launch" / "local.py"), "--nproc", "2"],
}
THREE_STEPS = [  # of 4 microbatches
    *("loader.batch_size=16", "loader.global_batch_size=64"),
    "train.precision=fp64",
]


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

    def end(self) -> Ending:
        """Wait for all processes."""
        codes = [self.server.ask(wait=pid) for pid in self.pids]
        stdout, stderr = (
            "".join(p.read_text() for p in files) for files in zip(*self.outputs, strict=True)
        )
        return Ending(codes, stdout, stderr)


@pytest.fixture(scope="session")
def server(cache_home: Path) -> Iterator[Server]:
    """Import torch once for all jobs of the session."""
    command = [sys.executable, str(Path(__file__).with_name("prefork.py"))]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},  # no spinning on a busy machine
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Server(process)


@pytest.fixture(scope="session")
def start(server: Server) -> Callable[..., Job]:
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
            server.ask(
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
        return Job(server, pids, outputs)

    return start


@pytest.fixture(scope="session")
def train(start: Callable[..., Job]) -> Callable[..., Ending]:
    """Run job/train.py with smoke.yaml, shrunk, and overrides; return how it ended."""
    job = [SMOKE, *TINY, *SILENT]
    return lambda cwd, *overrides, nproc=1, stop_at=None: start(
        cwd, *job, *overrides, nproc=nproc, stop_at=stop_at
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


@pytest.fixture(scope="session")
def launched(
    command: Callable[..., Callable[[], Ending]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Ending, Path]]:
    """One job started in every way there is: how it ended, and in which folder.

    All start at once on a machine without the graph; the one of four processes tells
    MLflow, and writes a page.
    """
    folders = {name: tmp_path_factory.mktemp(name) for name in LAUNCHERS}
    silent = {name: SILENT * (name != "torchrun4") for name in LAUNCHERS}
    started = {
        name: command(folders[name], *argv, SMOKE, *TINY, *THREE_STEPS, *silent[name])
        for name, argv in LAUNCHERS.items()
    }
    return {name: (end(), folders[name]) for name, end in started.items()}


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
