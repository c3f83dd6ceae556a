"""A small configuration, and the launcher as a process with a script in the job's place."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """\
run: {name: tiny}
graph: {type: synthetic, num_nodes: 100}
tasks:
  segment: {type: node_classification, label: segment}  # one task is enough
loader: {num_neighbors: [2], batch_size: 8}
model:
  encoder: {type: sage, num_layers: 1}
  sharing: {type: hard}
train: {epochs: 1}
track: {mlflow: null}
"""
LAUNCH = """\
import sys
from functools import partial
from pathlib import Path
from job.arguments import exit_code
from launch.local import main
sys.exit(exit_code(partial(main, sys.argv[2:], Path(sys.argv[1]))))
"""
SUPERVISE = """\
import os, sys
from pathlib import Path
import launch.meeting
import launch.restarts
from launch.elastic import supervise
from launch.local import parser, torchrun
launch.restarts.LONGEST_PAUSE_SECONDS = float(os.environ.get("LONGEST_PAUSE", "0.1"))
launch.meeting.LOOK_SECONDS = launch.restarts.FOLLOW_SECONDS = 0.1
launch.meeting.GRACE_SECONDS = launch.meeting.LINGER_SECONDS = 0.5
options = parser().parse_args(sys.argv[2:])
command = [*torchrun(options, options.nproc), sys.argv[1]]
sys.exit(supervise(command, Path("run"), options.max_restarts))
"""


class Launcher:
    """A launcher that was forked: what Popen would be."""

    def __init__(self, ask: Callable[..., int], cwd: Path, argv: list[str]) -> None:
        number = len(list(cwd.glob("launcher.*.out")))
        self._files = [cwd / f"launcher.{number}.{name}" for name in ("out", "err")]
        streams = [os.devnull, *map(str, self._files)]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **os.environ}
        self._ask = ask
        self.pid = ask(argv=argv, cwd=str(cwd), env=environment, streams=streams)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def said(self) -> str:
        """What stands on stderr by now."""
        return self._files[1].read_text() if self._files[1].exists() else ""

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout, stderr."""
        code = self._ask(wait=self.pid)
        return code, self._files[0].read_text(), self.said


Supervise = Callable[..., Launcher]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one's own, with its run directory beside it."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def launch(tmp_path: Path, config: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start launch/local.py in `tmp_path` with a script's text in the place of job/train.py."""

    def launch(script: str, *argv: str) -> "subprocess.Popen[str]":
        worker = tmp_path / "worker.py"
        worker.write_text(script)
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(worker), *argv, str(config)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return launch


@pytest.fixture(scope="session")
def ask() -> Iterator[Callable[..., int]]:
    """Give orders to the process that launchers are forked from."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("prefork.py"))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(**order: Any) -> int:
        assert process.stdin
        assert process.stdout
        print(json.dumps(order), file=process.stdin, flush=True)
        return int(process.stdout.readline())

    with process:
        yield ask


@pytest.fixture
def supervise(ask: Callable[..., int], tmp_path: Path) -> Supervise:
    """Start the launcher in `tmp_path` with a script's text as worker; RUN_DIR is `run`."""
    worker, program = tmp_path / "worker.py", tmp_path / "supervise.py"
    program.write_text(SUPERVISE)

    def supervise(script: str, *argv: str) -> Launcher:
        worker.write_text(script)
        return Launcher(ask, tmp_path, [str(program), str(worker), *argv])

    return supervise


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Wait until something holds, or fail."""

    def wait_until(holds: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait_until
