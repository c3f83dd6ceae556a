"""The Gramian of a step is that of one process, on every process, however many share the step.

Most methods do not care for its scale: their weights would hide a factor.
"""

import json

import numpy as np
import pytest

TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "value": {"type": "node_regression", "label": "value", "weight": 2.0},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory, run_worker):
    """Records of two steps with gradients of the representation and of the parameters."""
    folder = tmp_path_factory.mktemp("gramian")
    config = {
        "run": {"name": "case"},
        "graph": {"type": "synthetic", "num_nodes": 120, "missing": 0.6, "num_features": 8},
        "tasks": TASKS,
        "loader": {"num_neighbors": [3, 2], "batch_size": 4, "global_batch_size": 12},
        "model": {
            "dim": 8,
            "encoder": {"type": "sage", "num_layers": 2},
            "sharing": {"type": "hard"},
        },
        "train": {"epochs": 3, "precision": "fp64"},
        "track": {"mlflow": None},
    }
    places = {
        at: {**config, "balancing": {"type": "upgrad", "at": at}}
        for at in ("representation", "parameters")
    }
    cases = {at: {"config": tree, "num_steps": 2} for at, tree in places.items()}
    (folder / "cases.json").write_text(json.dumps(cases))
    return run_worker(folder, 1, 2)


@pytest.mark.parametrize("at", ["representation", "parameters"])
def test_two_processes_find_the_norms_and_cosines_of_one(results, at):
    alone, *pair = (record(results[at, size, rank]) for size, rank in ((1, 0), (2, 0), (2, 1)))
    assert any("cosine" in name for name in alone)
    for found in pair:
        assert found == pytest.approx(alone, rel=1e-9)
        assert found == pair[0]


def record(result):
    """Return what was recorded of gradients and weights."""
    prefixes = ("conflict/", "balance/")
    return {name: float(np.asarray(x)) for name, x in result.items() if name.startswith(prefixes)}
