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
from launch.arguments import exit_code
from launch.local import main
sys.exit(exit_code(partial(main, sys.argv[2:], Path(sys.argv[1]))))
"""

Launch = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one's own, with its run directory beside it."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def launch(tmp_path: Path, config: Path) -> Launch:
    """Start launch/local.py in `tmp_path` with the text of a script that stands in for the job."""

    def start(script: str, *argv: str) -> subprocess.Popen[str]:
        path = tmp_path / "worker.py"
        path.write_text(script)
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(path), *argv, str(config), "run.dir=run"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
