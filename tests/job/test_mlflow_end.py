"""What the MLflow run of a training gets at its end, and what of its configuration."""

from pathlib import Path
from typing import Any

import pytest

from job.mlflow_end import COST, NOTE, headlines, results_table
from job.mlflow_store import open_client
from job.track import MLflow, Status, Track, open_tracker
from job.track import main as send_again

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
METRICS = {
    "val/topic/accuracy": 0.7,
    "test/topic/loss": 1.5,
    "test/topic/accuracy": 0.51239,
    "trivial/topic/accuracy": 0.2,
    "test/a|b/mae": None,
    "test/mean_gain": 0.3,
}
CONFIG = {
    "run": {"name": "cora", "dir": "runs/cora", "seed": 3},
    "tasks": {"topic": {"type": "node_classification"}, "degree": {"type": "node_regression"}},
    "model": {"encoder": {"type": "sage"}, "sharing": {"type": "mmoe"}},
    "balancing": {"type": "upgrad"},
    "track": {"every_steps": 10},
    "cluster": None,
}


def train(run_dir: Path, uri: str, step: int, status: Status, **summary: Any) -> Any:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "config.yaml").write_text("")
    track = Track(mlflow=MLflow(uri=uri, experiment="test"))
    tracker = open_tracker(track, run_dir, "cora", is_main=True, total_steps=40, world_size=2)
    tracker.begin(CONFIG, {}, {}, step)
    tracker.log({"train/topic/loss": 1.0}, step + 10)
    tracker.finish(status, {"step": step + 10, "world_size": 2, "metrics": METRICS, **summary})
    return run_of(uri)


def run_of(uri: str) -> Any:
    client = open_client(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    return run


def test_cost_is_hours_times_processes_over_all_starts_each_counted_once(
    store: str, tmp_path: Path
) -> None:
    train(tmp_path / "run", store, 0, "stopped", seconds=1800)
    run = train(tmp_path / "run", store, 10, "finished", seconds=3600)
    assert run.data.metrics[COST] == pytest.approx(0.5 * 2 + 1.0 * 2)
    assert send_again([str(tmp_path / "run")]) == 0
    assert run_of(store).data.metrics[COST] == run.data.metrics[COST]


def test_parameters_say_what_is_computed_and_tags_where_and_by_which_types(
    store: str, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", store, 0, "finished")
    assert not [key for key in run.data.params if key.startswith(("track", "cluster"))]
    assert {"run.seed", "tasks.topic.type"} <= run.data.params.keys()
    assert not {"run.name", "run.dir"} & run.data.params.keys()
    types = {"model.encoder": "sage", "model.sharing": "mmoe", "balancing": "upgrad"}
    assert (
        run.data.tags.items() >= {**types, "tasks": "topic, degree", "run_dir": "runs/cora"}.items()
    )


def test_note_is_the_table_of_results_until_somebody_writes_another(
    store: str, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", store, 0, "stopped")
    assert run.data.tags[NOTE] == results_table(METRICS)
    open_client(store).set_tag(run.info.run_id, NOTE, "the one we shipped")
    assert send_again([str(tmp_path / "run")]) == 0
    assert run_of(store).data.tags[NOTE] == "the one we shipped"


def test_table_has_all_test_metrics_and_an_undefined_one_is_no_number() -> None:
    assert headlines(METRICS) == ["test/topic/accuracy", "test/a|b/mae"]
    assert results_table(METRICS).splitlines()[4:] == [
        "| topic | accuracy | 0.200 | **0.512** |",
        "| topic | loss | undefined | 1.500 |",
        "| a/b | mae | undefined | **undefined** |",
    ]
