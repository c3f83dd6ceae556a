"""evaluate: loss and metrics of one task over one split."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchmetrics import Metric

from mtl.tasks._metrics import UndefinedError
from mtl.tasks.bound import BoundTask


class Scores(dict[str, float]):
    """Values of the metrics that have one; `undefined` says of the others why they have none."""

    def __init__(self) -> None:
        super().__init__()
        self.undefined: dict[str, str] = {}


class Watcher(Protocol):
    """What else looks at the predictions of a task."""

    def update(
        self, scores: Float[Tensor, "seeds ..."], target: Shaped[Tensor, "seeds ..."]
    ) -> None:
        """Take the scores of some seeds, as metrics read them, and what they should be."""


class TaskScore:
    """Loss and metrics of one task over one split."""

    def __init__(self, bound: BoundTask, watcher: Watcher | None = None) -> None:
        self.bound, self._watcher, self._metrics = bound, watcher, metrics_of(bound)
        self._sum, self._count, self._moderate = 0.0, 0.0, True

    def update(self, prediction: Float[Tensor, "rows outputs"], seeds: np.ndarray) -> None:
        """Take predictions for seeds that the task reads."""
        if not len(seeds):
            return
        bound, target, prediction = self.bound, self.bound.targets(seeds), prediction.double()
        if target.is_floating_point():
            target = target.double()  # torchmetrics adds up squares, in the type of its arguments
        self._moderate = self._moderate and math.isfinite(float(prediction.square().sum()))
        self._sum += float(bound.loss_sum(prediction, target))
        self._count += bound.count(seeds)
        scores = bound.scores(prediction)
        for metric in self._metrics.values():
            metric.update(scores, target)
        if self._watcher is not None:
            self._watcher.update(scores, target)

    def compute(self) -> Scores:
        """Return `loss` (mean over all labels) and every metric."""
        scores = Scores()
        metrics = {name: metric.compute for name, metric in self._metrics.items()}
        for name, value_of in {"loss": self._loss, **metrics}.items():
            try:
                scores[name] = self._finite(name, value_of)
            except UndefinedError as error:
                scores.undefined[name] = str(error)
        return scores

    def _loss(self) -> float:
        return self._sum / self._count

    def _finite(self, name: str, value_of: Callable[[], Tensor | float]) -> float:
        """Return a value of known labels that is a number."""
        if not self._count:
            raise UndefinedError("no example has a label")
        value = float(value_of())
        bug = math.isnan(value) and self._moderate
        assert not bug, f"{self.bound.name}/{name} is NaN, but no prediction is"
        if not math.isfinite(value):
            raise UndefinedError(f"it comes to {value}: predictions are too large or not finite")
        return value


def metrics_of(bound: BoundTask) -> dict[str, Metric]:
    """Return fresh metrics of a task, in float64, by name."""
    return {name: _alone(metric) for name, metric in bound.metrics().items()}


def _alone(metric: Metric) -> Metric:
    """Return a metric in float64 that asks no other process: each has every example already.

    By itself torchmetrics would add up the states of all: W copies of every example, gathered from
    the CPU, which NCCL cannot.
    """
    metric.set_dtype(torch.float64)
    metric.distributed_available_fn = _never
    return metric


def _never() -> bool:
    return False
