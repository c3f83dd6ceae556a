"""What a job does when the machine lets it down."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
JOB = [
    str(ROOT / "job" / "train.py"),
    str(ROOT / "job" / "configs" / "smoke.yaml"),
    *("graph.num_nodes=300", "model.dim=256", "train.epochs=2", "track.mlflow=null"),
]
LARGE, SMALL = 1 << 30, 1 << 19
"""Bytes that a file may have: all, or the graph and the metrics but no checkpoint."""


@pytest.fixture
def limited(command, tmp_path):
    """Run the job with a limit on the size of files."""
    return lambda size, *overrides: command(tmp_path, "-c", LIMITED, str(size), *JOB, *overrides)()


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "runs" / "smoke"


def test_a_full_disk_ends_no_training_and_costs_no_checkpoint(limited, run_dir):
    assert limited(LARGE, "train.epochs=1").code == 0
    (before,) = (run_dir / "checkpoints").iterdir()
    ending = limited(SMALL)
    assert ending.code == 0, ending.stderr
    assert "no checkpoint could be written" in ending.stderr
    assert "the newest is of step 2" in ending.stderr
    assert list((run_dir / "checkpoints").iterdir()) == [before]
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 4)


def test_a_training_that_could_save_nothing_shows_its_results_and_ends_with_73(limited, run_dir):
    ending = limited(SMALL)
    assert ending.code == 73
    assert "test split" in ending.stdout
    assert "taking the last weights" in ending.stderr
    assert "step_00000004 could not be written" in ending.stderr
    assert json.loads((run_dir / "exit.json").read_text())["code"] == 73
