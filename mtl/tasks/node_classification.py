"""task: one class of several for each node."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from mtl.tasks import Statistics, Task

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True, kw_only=True)
class NodeClassification(Task):
    """Predict one of several classes for each node, by cross-entropy."""

    kind: ClassVar[str] = "class"

    def statistics(self, labels: Int[np.ndarray, " seeds"], num_classes: int) -> Statistics:
        """Return the logarithms of the class frequencies (one is added to each count)."""
        counts = torch.from_numpy(np.bincount(labels, minlength=num_classes) + 1.0)
        return Statistics((counts / counts.sum()).log(), torch.ones(num_classes).double())

    def loss_sum(
        self,
        prediction: Float[Tensor, "seeds classes"],
        target: Int[Tensor, " seeds"],
        statistics: Statistics,
    ) -> Float[Tensor, ""]:
        """Return the summed cross-entropy, in nats."""
        return F.cross_entropy(prediction, target, reduction="sum")

    def count(self, labels: Int[np.ndarray, " seeds"]) -> int:
        """Return the number of nodes."""
        return len(labels)

    def scores(self, prediction: Float[Tensor, "seeds classes"]) -> Float[Tensor, "seeds classes"]:
        """Return class probabilities."""
        return prediction.softmax(-1)

    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return accuracy, macro-F1 and, for two classes, the area under the ROC curve."""
        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassAUROC,
            MulticlassF1Score,
        )

        metrics: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "macro_f1": MulticlassF1Score(num_classes, average="macro"),
        }
        if num_classes == 2:
            metrics["auroc"] = MulticlassAUROC(num_classes)
        return metrics
