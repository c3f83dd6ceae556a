"""Metrics of every task are scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from mtl.tasks import Task


def measure(
    kind: str, prediction: np.ndarray, target: np.ndarray, num_classes: int
) -> dict[str, float]:
    """Compute a task's metrics in two updates, as an evaluation in batches does."""
    task = Task.read({"type": kind, "label": "y"})
    scores, labels = task.scores(torch.from_numpy(prediction)), torch.from_numpy(target)
    metrics = task.metrics(num_classes)
    for metric in metrics.values():
        for part in (slice(0, 70), slice(70, None)):
            metric.update(scores[part], labels[part])
    return {name: metric.compute().item() for name, metric in metrics.items()}


def assert_close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_classification(num_classes):
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(200, num_classes)), rng.integers(num_classes, size=200)
    logits[np.arange(200), target] += 0.7
    guess = logits.argmax(1)
    expected = {
        "accuracy": sk.accuracy_score(target, guess),
        "macro_f1": sk.f1_score(target, guess, average="macro"),
    }
    if num_classes == 2:
        expected["auroc"] = sk.roc_auc_score(target, logits[:, 1] - logits[:, 0])
        precision = sk.average_precision_score(target, logits[:, 1] - logits[:, 0])
        expected["average_precision"] = precision
    assert_close(measure("node_classification", logits, target, num_classes), expected)


def test_multilabel_over_known_labels():
    rng = np.random.default_rng(1)
    target = rng.choice([-1, 0, 1], (200, 4))
    logits = rng.normal(size=(200, 4)) + 0.7 * target
    known = target >= 0
    columns = [sk.roc_auc_score(target[k, c], logits[k, c]) for c, k in enumerate(known.T)]
    expected = {
        "auroc": np.mean(columns),
        "micro_f1": sk.f1_score(target[known], logits[known] > 0),
        "accuracy": sk.accuracy_score(target[known], logits[known] > 0),
    }
    assert_close(measure("node_multilabel", logits, target, 4), expected)


def test_regression_in_the_users_units():
    rng = np.random.default_rng(2)
    target = rng.normal(70, 30, 200)
    prediction = target + rng.normal(0, 10, 200)
    expected = {
        "r2": sk.r2_score(target, prediction),
        "mae": sk.mean_absolute_error(target, prediction),
        "rmse": sk.root_mean_squared_error(target, prediction),
    }
    found = measure("node_regression", prediction[:, None], target, 1)
    assert found == pytest.approx(expected, rel=1e-6)
    assert list(found) == list(expected)
