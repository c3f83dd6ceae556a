"""What every task promises: sums and counts that agree, missing labels that never matter."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl.tasks import Statistics, Task

NUM_CLASSES = {"class": 4, "multilabel": 3, "regression": 1}
TASKS = [
    Task.read({"type": name, "label": "y"} | options)
    for name in Task.types()
    for options in (
        [{"loss": x} for x in ("mse", "mae", "huber")] if "regression" in name else [{}]
    )
]
EVERY = pytest.mark.parametrize("task", TASKS, ids=lambda t: f"{t.type}-{getattr(t, 'loss', '')}")


def labels_of(task: Task, num: int, seed: int = 0) -> np.ndarray:
    """Draw labels as a store has them: unbalanced, of a multilabel some missing."""
    rng = np.random.default_rng(seed)
    if task.kind == "class":
        return rng.choice(4, num, p=[0.6, 0.3, 0.1, 0.0]).astype(np.int32)
    if task.kind == "multilabel":
        return rng.choice([-1, 0, 1], (num, 3), p=[0.3, 0.6, 0.1]).astype(np.int8)
    return rng.normal(70, 30, num).astype(np.float32)


def tensor(labels: np.ndarray) -> Tensor:
    values = torch.from_numpy(labels)
    return values.double() if values.is_floating_point() else values.long()


def setting(task: Task, num: int = 20) -> tuple[np.ndarray, Tensor, Statistics]:
    """Return labels, random predictions around the prior, and statistics."""
    labels = labels_of(task, num)
    statistics = task.statistics(labels_of(task, 50, seed=1), NUM_CLASSES[task.kind])
    noise = torch.randn(num, len(statistics.prior), generator=torch.manual_seed(2)).double()
    return labels, statistics.prior + statistics.scale * noise, statistics


@EVERY
def test_the_count_is_the_number_of_losses_in_the_sum(task):
    labels, _, statistics = setting(task)
    if task.kind == "regression":  # one standard deviation beside the target
        prediction = tensor(labels).unsqueeze(1) + statistics.scale
        unit = 0.5 if task.loss == "huber" else 1.0
    else:  # every class equally likely
        prediction = torch.zeros(20, NUM_CLASSES[task.kind]).double()
        unit = np.log(4 if task.kind == "class" else 2)
    total = task.loss_sum(prediction, tensor(labels), statistics)
    assert total.item() == pytest.approx(unit * task.count(labels), rel=1e-12)
    assert task.count(labels) == (labels >= 0).sum() if task.kind == "multilabel" else 20


@EVERY
def test_sums_and_counts_of_parts_add_up(task):
    labels, prediction, statistics = setting(task)
    parts = [slice(0, 3), slice(3, 3), slice(3, 20)]
    sums = [task.loss_sum(prediction[p], tensor(labels[p]), statistics) for p in parts]
    torch.testing.assert_close(sum(sums), task.loss_sum(prediction, tensor(labels), statistics))
    assert sum(task.count(labels[p]) for p in parts) == task.count(labels)


@EVERY
def test_nothing_selected_is_exactly_zero_with_zero_gradients(task):
    labels, _, statistics = setting(task, 0)
    head = nn.Linear(5, len(statistics.prior)).double()
    loss = task.loss_sum(head(torch.empty(0, 5).double()), tensor(labels), statistics)
    loss.backward()
    assert (loss.item(), task.count(labels)) == (0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())


def test_the_prediction_of_a_missing_label_never_matters():
    task = Task.read({"type": "node_multilabel", "label": "y"})
    labels, prediction, statistics = setting(task)
    missing, changed = tensor(labels) < 0, prediction.clone().requires_grad_()
    changed.data[missing] = 1e6
    loss = task.loss_sum(changed, tensor(labels), statistics)
    loss.backward()
    assert loss.item() == task.loss_sum(prediction, tensor(labels), statistics).item()
    assert not changed.grad[missing].any()
    assert changed.grad[~missing].all()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_seeds_without_a_label_are_never_read(tasks, split):
    for task in tasks.values():
        values, nodes = task.label.values, np.arange(300)
        missing = np.isnan(values) if task.label.kind == "regression" else values < 0
        unlabelled = missing.reshape(300, -1).all(1)
        assert unlabelled[task.split > 0].any() or task.name == "interests"
        assert task.rows(nodes, split).tolist() == task.seeds(split).tolist()
        assert not unlabelled[task.seeds(split)].any()


@pytest.mark.parametrize(
    "task", [t for t in TASKS if getattr(t, "loss", "mse") == "mse"], ids=lambda t: t.type
)
@given(st.integers(0, 99), st.integers(0, 99))
def test_no_constant_is_better_than_the_prior(task, seed, direction):
    labels = labels_of(task, 60, seed)
    statistics = task.statistics(labels, NUM_CLASSES[task.kind])
    step = torch.randn(len(statistics.prior), generator=torch.manual_seed(direction)).double()

    def loss(constant: Tensor) -> Tensor:
        return task.loss_sum(constant.expand(len(labels), -1), tensor(labels), statistics)

    slack = {"class": 4, "multilabel": 1, "regression": 1e-6}[task.kind]  # the added counts
    gain = loss(statistics.prior) - loss(statistics.prior + 0.1 * step * statistics.scale)
    assert gain <= slack * 0.1 * step.abs().sum()


def test_labels_that_are_all_equal_have_a_scale_of_one():
    task = Task.read({"type": "node_regression", "label": "y"})
    assert task.statistics(np.full(5, 3.0, np.float32), 1) == (torch.tensor([3.0]), 1)


@EVERY
def test_the_loss_is_the_textbooks(task):
    labels, prediction, statistics = setting(task)
    p, y = task.scores(prediction).numpy(), labels
    if task.kind == "class":
        expected = -np.log(p[np.arange(20), y]).sum()
    elif task.kind == "multilabel":
        expected = -(np.log(p[y == 1]).sum() + np.log1p(-p[y == 0]).sum())
    else:
        e = np.abs(p - y) / statistics.scale.item()
        expected = {"mse": e**2, "mae": e, "huber": np.where(e < 1, e**2 / 2, e - 0.5)}[task.loss]
    assert task.loss_sum(prediction, tensor(labels), statistics).item() == pytest.approx(
        np.sum(expected), rel=1e-9
    )
