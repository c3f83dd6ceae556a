"""Intervals of metrics: they hold the metric, follow from the seed, and are as wide as they say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from job.confidence import Interval, Sample, intervals
from job.scores import TaskScore
from mtl.collective import Alone
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask

TASKS = {
    "segment": "node_classification",
    "churn": "node_classification",
    "value": "node_regression",
    "interests": "node_multilabel",
}


@pytest.fixture(scope="module")
def bounds() -> dict[str, BoundTask]:
    store = open_graph(Synthetic(num_nodes=2000))
    return {n: Task.read({"type": t, "label": n}).bind(n, store) for n, t in TASKS.items()}


def sampled(bound: BoundTask, seeds: np.ndarray, outputs: Tensor, *cuts: int) -> Sample:
    """Give a sample some predictions, cut into chunks."""
    sample = Sample(bound)
    score = TaskScore(bound, sample)
    for some, part in zip(
        np.split(seeds, cuts), torch.tensor_split(outputs, list(cuts)), strict=True
    ):
        score.update(part, some)
    return sample


def alone(sample: Sample, level: float, resamples: int, seed: int) -> dict[str, Interval]:
    """Return the intervals that one process computes."""
    return intervals(sample, level, resamples, seed, Alone(), torch.device("cpu"))


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 199), max_size=3).map(sorted))
def test_chunks_do_not_matter_and_the_metric_lies_within_its_interval(
    bounds: dict[str, BoundTask], name: str, seed: int, cuts: list[int]
) -> None:
    bound = bounds[name]
    seeds = bound.seeds("train")[:200]
    outputs = torch.randn(
        len(seeds), bound.num_outputs, generator=torch.Generator().manual_seed(seed)
    )
    whole, score = sampled(bound, seeds, outputs), TaskScore(bound)
    score.update(outputs, seeds)
    found = alone(whole, 0.99, 60, seed)
    assert found == alone(sampled(bound, seeds, outputs, *cuts), 0.99, 60, seed)
    values = score.compute()
    assert found.keys() == values.keys() - {"loss"}
    for metric, (low, high) in found.items():
        slack = 0.02 if metric == "macro_f1" else 1e-9  # it is biased in small samples
        assert low - slack <= values[metric] <= high + slack


def accuracy_of(bound: BoundTask, seeds: np.ndarray, right: np.ndarray) -> Sample:
    """Give a sample predictions of which some are right."""
    truth = torch.as_tensor(bound.targets(seeds)).long()
    said = torch.where(torch.from_numpy(right), truth, 1 - truth)
    return sampled(bound, seeds, torch.nn.functional.one_hot(said, 2).double())


@pytest.mark.parametrize(
    ("trials", "draws"), [(60, 60), pytest.param(1000, 200, marks=pytest.mark.soak)]
)
def test_ninety_percent_of_the_intervals_hold_what_is_true_of_all(
    bounds: dict[str, BoundTask], trials: int, draws: int
) -> None:
    bound, held = bounds["churn"], 0
    seeds = bound.seeds("train")[:150]
    for trial in range(trials):
        right = np.random.default_rng(trial).random(len(seeds)) < 0.7
        low, high = alone(accuracy_of(bound, seeds, right), 0.9, draws, trial)["accuracy"]
        held += low <= 0.7 <= high
    assert 0.8 < held / trials < 0.97


def test_a_metric_that_most_draws_leave_undefined_has_no_interval(
    bounds: dict[str, BoundTask],
) -> None:
    bound = bounds["churn"]
    known = bound.seeds("train")
    classes = np.asarray(bound.targets(known))
    few = np.concatenate([known[classes == 0][:30], known[classes == 1][:1]])
    often = alone(sampled(bound, few, torch.randn(31, 2)), 0.9, 100, 0)
    assert {"accuracy", "auroc"} <= often.keys()  # the one is drawn in 63 of 100
    none = alone(sampled(bound, few[:30], torch.randn(30, 2)), 0.9, 100, 0)
    assert "accuracy" in none
    assert "auroc" not in none


def test_without_examples_there_are_no_intervals(bounds: dict[str, BoundTask]) -> None:
    assert alone(Sample(bounds["value"]), 0.9, 50, 0) == {}


def test_what_watched_the_task_before_watches_it_still(bounds: dict[str, BoundTask]) -> None:
    bound, seen = bounds["value"], []

    class Watching:
        def update(self, scores: Tensor, target: Tensor) -> None:
            seen.append(len(scores))

    seeds = bound.seeds("val")[:7]
    TaskScore(bound, Sample(bound, Watching())).update(torch.zeros(7, 1), seeds)
    assert seen == [7]
