"""Four processes are one job: one MLflow run, one record, one display, one table."""

import json
from collections import Counter

import pytest

from job.clock import PARTS
from job.mlflow_store import open_client

pytestmark = [  # of mlflow's imports
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]


@pytest.fixture(scope="module")
def job(launched):
    """A job of four processes with a fresh MLflow database: its ending and its folder."""
    ending, folder = launched["torchrun4"]
    assert ending.code == 0, ending.stderr
    return ending, folder


@pytest.fixture(scope="module")
def run_dir(job):
    """The run directory of the job."""
    return job[1] / "runs" / "smoke"


@pytest.fixture(scope="module")
def mlflow_runs(job):
    """All runs that MLflow knows of."""
    client = open_client(f"sqlite:///{job[1] / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids))


def test_four_processes_make_one_finished_mlflow_run(mlflow_runs):
    assert [run.info.status for run in mlflow_runs] == ["FINISHED"]


def test_mlflow_has_the_metrics_the_parameters_and_the_tags(mlflow_runs, run_dir):
    (run,) = mlflow_runs
    summary = json.loads((run_dir / "summary.json").read_text())
    assert run.info.run_id == summary["mlflow_run_id"]
    assert {key: run.data.metrics[key] for key in summary["metrics"]} == summary["metrics"]
    assert run.data.params["model.encoder.type"] == "sage"
    assert run.data.tags["world_size"] == "4"


def test_the_run_ends_with_a_picture_of_conflicts_and_mlflow_has_it(job, mlflow_runs, run_dir):
    assert (run_dir / "conflicts.png").read_bytes().startswith(b"\x89PNG")
    client = open_client(f"sqlite:///{job[1] / 'mlflow.db'}")
    files = {file.path for file in client.list_artifacts(mlflow_runs[0].info.run_id)}
    assert files == {"config.yaml", "dataset.json", "conflicts.png", "report.html"}


def test_the_run_ends_with_a_page_of_its_results(job, run_dir, launched):
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('<script type="application/json">') > 8
    assert "warning" not in job[0].stderr
    assert not (launched["python"][1] / "runs" / "smoke" / "report.html").exists()


def test_each_metric_is_recorded_once_a_step_and_steps_rise(run_dir):
    records = [json.loads(x) for x in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records]
    times = Counter((r["step"], key) for r in records for key in r if "/" in key)
    assert steps == sorted(steps)
    assert set(times.values()) == {1}
    assert set(range(1, steps[-1] + 1)) == set(steps)


@pytest.mark.parametrize("launcher", ["python", "torchrun2", "torchrun4"])
def test_every_record_of_the_training_says_where_the_time_went(launcher, launched):
    _, folder = launched[launcher]
    run_dir = folder / "runs" / "smoke"
    records = [json.loads(x) for x in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "train/grad_norm" in record]
    for record in steps:
        times = {part: record[f"time/{part}"] for part in PARTS}
        assert min(times.values()) >= 0
        assert min(times[part] for part in ("forward", "backward", "optimizer")) > 0
        assert (times["communication"] > 0) == (launcher != "python")
        assert record["memory/peak_bytes"] > 50e6
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["time"]["evaluation"] > 0
    assert summary["memory"]["peak_bytes"] >= steps[-1]["memory/peak_bytes"]
    assert sum(summary["time"].values()) * len(steps) == pytest.approx(summary["seconds"])


def test_mlflow_knows_where_the_time_went(mlflow_runs):
    (run,) = mlflow_runs
    assert {f"time/{part}" for part in PARTS} | {"memory/peak_bytes"} <= run.data.metrics.keys()


def test_one_line_says_where_the_time_went_and_one_what_was_chosen(job):
    ending, _ = job
    assert len([x for x in ending.stdout.splitlines() if "forward" in x and " %" in x]) == 1
    assert ending.stdout.count("seeds/s, ") == 1
    assert ending.stderr.count("4 processes x (") == 1


def test_one_progress_display_is_on_stderr(job):
    ending, _ = job
    last_lines = [x for x in ending.stderr.splitlines() if x.startswith("step 3/3")]
    assert len(last_lines) == 1, ending.stderr


def test_one_table_of_results_is_on_stdout(job):
    ending, _ = job
    assert ending.stdout.count("test split") == 1
    assert ending.stdout.count("│ r2") == 1


def test_the_run_directory_holds_the_whole_truth(run_dir):
    summary = json.loads((run_dir / "summary.json").read_text())
    wanted = {"status", "step", "metrics", "throughput", "mlflow_run_id", "world_size"}
    assert wanted <= summary.keys()
    assert {"seeds_per_second", "edges_per_second"} <= summary["throughput"].keys()
    assert (summary["status"], summary["step"], summary["world_size"]) == ("finished", 3, 4)
    assert {"test/segment/accuracy", "test/value/r2"} <= summary["metrics"].keys()
    assert json.loads((run_dir / "exit.json").read_text())["code"] == 0
    assert (run_dir / "config.yaml").is_file()
    assert (run_dir / "checkpoints" / "step_00000003" / "manifest.json").is_file()
