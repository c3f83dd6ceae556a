"""What every task promises: sums and counts that agree, missing labels that never matter."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mtl.errors import ConfigError
from mtl.tasks import Statistics, Task
from mtl.tasks._labelled import LabelTask

KINDS = ("classification", "multilabel", "regression")
NUM_CLASSES = {"class": 4, "multilabel": 3, "regression": 1}
VARIANTS = {
    "class": [{}, {"class_weights": "balanced"}, {"label_smoothing": 0.2}],
    "multilabel": [{}],
    "regression": [{"loss": loss} for loss in ("mse", "mae", "huber", "poisson")],
}
LABELLED = [name for name in Task.types() if issubclass(Task.named(name), LabelTask)]
TASKS = [
    Task.read({"type": name, "label": "y"} | options)
    for name in LABELLED
    for options in VARIANTS[Task.named(name).kind]
]
EVERY = pytest.mark.parametrize(
    "task", TASKS, ids=lambda t: f"{t.type}-{getattr(t, 'loss', '')}{TASKS.index(t)}"
)


def labels_of(task: Task, num: int, seed: int = 0) -> np.ndarray:
    """Draw labels as a store has them: unbalanced, of a multilabel some missing."""
    rng = np.random.default_rng(seed)
    if task.kind == "class":
        return rng.choice(4, num, p=[0.6, 0.3, 0.1, 0.0]).astype(np.int32)
    if task.kind == "multilabel":
        return rng.choice([-1, 0, 1], (num, 3), p=[0.3, 0.6, 0.1]).astype(np.int8)
    if task.loss == "poisson":
        return rng.poisson(3, num).astype(np.float32)
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
    if getattr(task, "loss", None) == "poisson":  # exp(1) for a count of 0
        labels, prediction, unit = np.zeros(20, np.float32), torch.ones(20, 1).double(), np.e
    elif task.kind == "regression":  # one standard deviation beside the target
        prediction = tensor(labels).unsqueeze(1) + statistics.scale
        unit = 0.5 if task.loss == "huber" else 1.0
    else:  # every class equally likely
        prediction = torch.zeros(20, NUM_CLASSES[task.kind]).double()
        unit = np.log(4 if task.kind == "class" else 2)
    total = task.loss_sum(prediction, tensor(labels), statistics)
    count = task.count(labels, statistics)
    assert total.item() == pytest.approx(unit * count, rel=1e-12)
    if statistics.class_weight is None:
        assert count == (labels >= 0).sum() if task.kind == "multilabel" else 20


@EVERY
def test_sums_and_counts_of_parts_add_up(task):
    labels, prediction, statistics = setting(task)
    parts = [slice(0, 3), slice(3, 3), slice(3, 20)]
    sums = [task.loss_sum(prediction[p], tensor(labels[p]), statistics) for p in parts]
    torch.testing.assert_close(sum(sums), task.loss_sum(prediction, tensor(labels), statistics))
    counts = [task.count(labels[p], statistics) for p in parts]
    assert sum(counts) == pytest.approx(task.count(labels, statistics), rel=1e-12)


@EVERY
def test_nothing_selected_is_exactly_zero_with_zero_gradients(task):
    labels, _, statistics = setting(task, 0)
    head = nn.Linear(5, len(statistics.prior)).double()
    loss = task.loss_sum(head(torch.empty(0, 5).double()), tensor(labels), statistics)
    loss.backward()
    assert (loss.item(), task.count(labels, statistics)) == (0, 0)
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
    "task",
    [Task.read({"type": f"node_{kind}", "label": "y"}) for kind in KINDS],
    ids=lambda t: t.type,
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
    assert task.statistics(np.full(5, 3.0, np.float32), 1)[:2] == (torch.tensor([3.0]), 1)


@EVERY
def test_the_loss_is_the_textbooks(task):
    labels, prediction, statistics = setting(task)
    p, y = task.scores(prediction).numpy(), labels
    if task.kind == "class":
        weight = np.ones(4) if statistics.class_weight is None else statistics.class_weight.numpy()
        smooth = task.label_smoothing
        own = -np.log(p[np.arange(20), y]) * weight[y]
        expected = (1 - smooth) * own.sum() - smooth / 4 * (weight * np.log(p)).sum()
    elif task.kind == "multilabel":
        expected = -(np.log(p[y == 1]).sum() + np.log1p(-p[y == 0]).sum())
    elif task.loss == "poisson":
        expected = (scipy.special.xlogy(y, y / p) - y + p).sum()
    else:
        e = np.abs(p - y) / statistics.scale.item()
        expected = {"mse": e**2, "mae": e, "huber": np.where(e < 1, e**2 / 2, e - 0.5)}[task.loss]
    assert task.loss_sum(prediction, tensor(labels), statistics).item() == pytest.approx(
        np.sum(expected), rel=1e-9
    )


def test_balanced_weights_make_every_class_count_alike():
    task = Task.read({"type": "node_classification", "label": "y", "class_weights": "balanced"})
    labels = np.repeat(np.arange(3), [89, 9, 2])
    statistics = task.statistics(labels, 3)
    counts = [task.count(labels[labels == c], statistics) for c in range(3)]
    assert counts == pytest.approx([100 / 3] * 3, rel=0.35)  # one is added to each class
    assert counts[0] < 40


def test_poisson_refuses_negative_counts():
    task = Task.read({"type": "node_regression", "label": "y", "loss": "poisson"})
    with pytest.raises(ConfigError, match="loss: poisson is for counts, and 'y' has -1"):
        task.statistics(np.array([3.0, -1.0], np.float32), 1)
