"""A metric that has no value for some examples is left out, and its reason is told."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from job.evaluation import mean_gain
from job.results import show
from job.scores import Scores, TaskScore
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask


def bind(kind: str, label: str, **options: str) -> BoundTask:
    task = Task.read({"type": f"node_{kind}", "label": label, **options})
    return task.bind(label, open_graph(Synthetic(num_nodes=300)))


def test_an_area_without_an_example_of_a_class_is_left_out():
    bound = bind("classification", "churn")
    score, seeds = TaskScore(bound), bound.seeds("train")
    one = seeds[bound.label.values[seeds] == 0][:3]
    score.update(torch.zeros(len(one), 2), np.asarray(one))
    found = score.compute()
    assert found.keys() == {"loss", "accuracy", "macro_f1"}
    why = "no example of class 1"
    assert found.undefined == {"auroc": why, "average_precision": why}


def test_an_area_is_left_out_where_nothing_is_known_of_a_column():
    bound = bind("multilabel", "interests")
    score, seeds = TaskScore(bound), bound.seeds("val")
    some = seeds[bound.label.values[seeds, 0] < 0]
    score.update(torch.zeros(len(some), bound.num_outputs), some)
    found = score.compute()
    assert {"loss", "micro_f1"} <= found.keys()
    assert found.undefined == {"auroc": "no example of class 0 in column 0"}


@pytest.mark.parametrize(
    ("kind", "label"),
    [("classification", "churn"), ("multilabel", "interests"), ("regression", "value")],
)
def test_nothing_has_a_value_without_an_example(kind, label):
    bound = bind(kind, label)
    found = TaskScore(bound).compute()
    assert not found
    assert found.undefined == dict.fromkeys(["loss", *bound.metrics()], "no example has a label")


def test_what_is_not_finite_has_no_value():
    bound = bind("regression", "value", loss="mae")
    score, seeds = TaskScore(bound), bound.seeds("test")
    score.update(torch.full((len(seeds), 1), 1e300, dtype=torch.float64), seeds)
    found = score.compute()
    assert found["mae"] == pytest.approx(1e300)
    assert found.undefined["rmse"] == "it comes to inf: predictions are too large or not finite"


def test_a_prediction_that_is_no_number_leaves_no_value():
    bound = bind("regression", "value")
    score, seeds = TaskScore(bound), bound.seeds("test")
    score.update(torch.full((len(seeds), 1), torch.nan), seeds)
    found = score.compute()
    assert not found
    assert all("it comes to nan" in why for why in found.undefined.values())


def test_a_metric_that_makes_nan_of_numbers_is_a_bug(monkeypatch):
    bound = bind("regression", "value")
    score, seeds = TaskScore(bound), bound.seeds("test")
    score.update(torch.zeros(len(seeds), 1), seeds)
    monkeypatch.setattr(score._metrics["r2"], "compute", lambda: torch.tensor(torch.nan))
    with pytest.raises(AssertionError, match="value/r2 is NaN, but no prediction is"):
        score.compute()


def test_a_task_without_a_loss_does_not_count_in_the_mean_gain():
    known, empty = Scores(), Scores()
    known["loss"] = 1.0
    half = Scores()
    half["loss"] = 0.5
    assert mean_gain({"a": half, "b": empty}, {"a": known, "b": empty}) == 0.5
    assert np.isnan(mean_gain({"b": empty}, {"b": empty}))


def test_the_reason_stands_below_the_table():
    summary = {
        "metrics": {"test/churn/accuracy": 0.5},
        "undefined": {"test/churn/auroc": "no example of class 1"},
        "best_reachable": {"churn": {}},
    }
    out = io.StringIO()
    show(summary, "test", Console(file=out, width=100))
    assert "churn/auroc is undefined: no example of class 1" in out.getvalue()
    (row,) = (line for line in out.getvalue().splitlines() if "│ auroc" in line)
    assert row.count("undefined") == 2
