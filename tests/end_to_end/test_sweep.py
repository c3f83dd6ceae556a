"""A sweep as people start it: it stops, goes on, compares, and says what failed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from job.mlflow_store import open_client

ROOT = Path(__file__).parents[2]
SWEEP = str(ROOT / "job" / "sweep.py")
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
TINY = ["graph.num_nodes=300", "train.epochs=1"]
SPACE = "{space: {model.dim: [8, 16], optim.lr: [0.01, 1.0e+30]}}"

pytestmark = [  # of mlflow's imports
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


@pytest.fixture(scope="module")
def sweep(command, tmp_path_factory):
    """A sweep of four trainings, two of which diverge: stopped once, then started again."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "space.yaml").write_text(SPACE)
    start = [SWEEP, SMOKE, "space.yaml", "--parallel", "2", *TINY]
    first = command(folder, *start)
    while not finished(folder):
        assert first.process.poll() is None
        time.sleep(0.05)
    os.killpg(first.process.pid, signal.SIGTERM)
    stopped = first()
    done = {path: path.stat().st_mtime_ns for path in finished(folder)}
    return folder, stopped, done, command(folder, *start)()


def finished(folder):
    """Return the summaries of trainings that have ended well."""
    found = list(folder.glob("sweeps/smoke/*/summary.json"))
    return [path for path in found if json.loads(path.read_text())["status"] == "finished"]


def test_a_stopped_sweep_saves_and_says_so(sweep):
    _, stopped, _, _ = sweep
    assert stopped.code == 75, stopped.stderr
    assert "the same command goes on" in stopped.stderr


def test_what_is_done_is_not_trained_again(sweep):
    folder, _, done, ended = sweep
    assert ended.code == 0, ended.stderr
    assert done
    assert all(path.stat().st_mtime_ns == changed for path, changed in done.items())
    assert len(list(folder.glob("sweeps/smoke/*/metrics.jsonl"))) == 4


def test_trials_are_shown_with_the_command_of_the_best(sweep):
    folder, _, _, ended = sweep
    assert "model.dim" in ended.stdout
    assert "the best one, again: python job/train.py" in ended.stdout
    assert "optim.lr=0.01" in ended.stdout.partition("the best one")[2]
    runs = [folder / "sweeps" / "smoke" / f"{number:03}_seed_0" for number in range(4)]
    statuses = [json.loads((run / "summary.json").read_text())["status"] for run in runs]
    assert statuses == ["finished", "failed", "finished", "failed"]
    assert [json.loads((run / "exit.json").read_text())["code"] for run in runs[1::2]] == [76, 76]
    assert "failed with exit code 76" in ended.stderr


def test_the_runs_are_nested_in_one_that_has_the_page(sweep):
    folder, _, _, _ = sweep
    client = open_client(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = (run for run in runs if "graphmtl.sweep" in run.data.tags)
    nested = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == 4
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["graphmtl.best"] in {run.info.run_name for run in nested}
    assert (folder / "sweeps" / "smoke" / "comparison.html").stat().st_size > 10_000


def test_a_training_that_fails_otherwise_fails_the_sweep_after_all_others(command, tmp_path):
    (tmp_path / "space.yaml").write_text("{space: {tasks.segment.label: [nowhere, segment]}}")
    ended = command(tmp_path, SWEEP, SMOKE, "space.yaml", *TINY, "track.mlflow=null")()
    assert ended.code == 70
    assert "1 of 2 trainings failed (exit codes: 000 seed 0: 64)" in ended.stderr
    assert "nowhere" in ended.stderr
    assert "001" in ended.stdout
