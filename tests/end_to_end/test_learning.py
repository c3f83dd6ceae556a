"""The job learns: on a graph whose best reachable scores are known, it comes near them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "job" / "configs"


@pytest.mark.smoke
def test_the_smoke_configuration_ends_well_as_it_is(command, tmp_path):
    ending = command(tmp_path, str(ROOT / "job" / "train.py"), str(CONFIGS / "smoke.yaml"))()
    assert ending.code == 0, ending.stderr
    summary = json.loads((tmp_path / "runs" / "smoke" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["world_size"] == 1
    assert summary["mlflow_run_id"]
    assert "test split" in ending.stdout


@pytest.mark.soak
def test_a_gcn_reaches_the_literatures_accuracy_on_cora(command, tmp_path, shared_data):
    config = [str(CONFIGS / "cora_topic.yaml"), f"graph.root={shared_data}", "track.mlflow=null"]
    accuracies = []
    for seed in range(5):
        run = [f"run.seed={seed}", f"run.dir={tmp_path / str(seed)}"]
        ending = command(tmp_path, str(ROOT / "job" / "train.py"), *config, *run)()
        assert ending.code == 0, ending.stderr
        summary = json.loads((tmp_path / str(seed) / "summary.json").read_text())
        accuracies.append(summary["metrics"]["test/topic/accuracy"])
    assert sum(accuracies) / 5 >= 0.805, accuracies  # published: 0.815 (Kipf and Welling, 2017)


@pytest.fixture(scope="module")
def summary(start, tmp_path_factory):
    """The summary of the quick start on a graph of 2,000 nodes."""
    folder = tmp_path_factory.mktemp("learning")
    small = ["graph.num_nodes=2000", "graph.num_features=16", "graph.missing=0.0"]
    small += ["loader.batch_size=128", "loader.global_batch_size=128", "model.encoder.dropout=0.5"]
    small += ["train.epochs=15", "train.precision=fp32", "track.mlflow=null"]
    ending = start(folder, str(CONFIGS / "quickstart.yaml"), *small).end()
    assert ending.code == 0, ending.stderr
    return json.loads((folder / "runs" / "quickstart" / "summary.json").read_text())


@pytest.mark.parametrize("task", ["segment", "churn", "value", "interests"])
def test_each_task_comes_more_than_half_way_to_the_best_reachable(task, summary):
    ((metric, best),) = summary["best_reachable"][task].items()
    trivial, result = (summary["metrics"][f"{s}/{task}/{metric}"] for s in ("trivial", "test"))
    assert trivial < (trivial + best) / 2 < result <= best + 0.05
