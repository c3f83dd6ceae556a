"""evaluate: loss and metrics of one task over one split."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from job.diagnosis import Diagnosis
from mtl.tasks.bound import BoundTask


class TaskScore:
    """Loss and metrics of one task over one split."""

    def __init__(self, bound: BoundTask, diagnosis: Diagnosis | None = None) -> None:
        self.bound, self._diagnosis = bound, diagnosis
        self._metrics = {n: _alone(metric) for n, metric in bound.metrics().items()}
        self._sum, self._count = 0.0, 0.0

    def update(self, prediction: Float[Tensor, "rows outputs"], seeds: np.ndarray) -> None:
        """Take predictions for seeds that the task reads."""
        if not len(seeds):
            return
        bound, target, prediction = self.bound, self.bound.targets(seeds), prediction.double()
        if target.is_floating_point():
            target = target.double()  # torchmetrics adds up squares, in the type of its arguments
        self._sum += float(bound.loss_sum(prediction, target))
        self._count += bound.count(seeds)
        scores = bound.scores(prediction)
        for metric in self._metrics.values():
            metric.update(scores, target)
        if self._diagnosis is not None:
            self._diagnosis.update(scores, target)

    def compute(self) -> dict[str, float]:
        """Return `loss` (mean over all labels) and every metric that is defined.

        An area under a ROC curve, say, is not defined where a class has no example; torchmetrics
        warns and gives 0, which nobody should read as a result.
        """
        values = {"loss": self._sum / (self._count or 1)}
        for name, metric in self._metrics.items():
            with _own_warnings() as caught:
                try:
                    value = float(metric.compute())
                except (ValueError, IndexError):  # R2 of a single node, AUROC of a column unknown
                    continue
            if not caught:
                values[name] = value
        return values


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


@contextmanager
def _own_warnings() -> Iterator[list[str]]:
    """Collect the warnings of this thread: others, such as MLflow's, have warnings of their own."""
    caught: list[str] = []
    this = threading.get_ident()

    def collect(message: Warning | str, *_: object, **__: object) -> None:
        if threading.get_ident() == this:
            caught.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = collect
        yield caught
