"""A small configuration, and the launcher as a process with a script in the job's place."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
import sys
from pathlib import Path
from launch.elastic import supervise
from launch.local import parser, torchrun
options = parser().parse_args(sys.argv[2:])
command = [*torchrun(options, options.nproc), sys.argv[1]]
sys.exit(supervise(command, Path("run"), options.max_restarts))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one's own, with its run directory beside it."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def torch_process(tmp_path: Path) -> Start:
    """Start a Python program in `tmp_path` that can import this checkout."""

    def start(program: str, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *argv],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def launch(torch_process: Start, tmp_path: Path, config: Path) -> Start:
    """Start launch/local.py in `tmp_path` with a script's text in the place of job/train.py."""
    worker = tmp_path / "worker.py"
    return lambda script, *argv: (
        worker.write_text(script) and torch_process(LAUNCH, str(worker), *argv, str(config))
    )


@pytest.fixture
def supervise(torch_process: Start, tmp_path: Path) -> Start:
    """As `launch`, without the seconds that reading a configuration costs; RUN_DIR is `run`."""
    worker = tmp_path / "worker.py"
    return lambda script, *argv: (
        worker.write_text(script) and torch_process(SUPERVISE, str(worker), *argv)
    )
