"""tasks: one class of several, by cross-entropy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mtl.tasks import Statistics
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True, kw_only=True)
class Classification(LabelTask):
    """Predict one of several classes."""

    kind: ClassVar[str] = "class"

    class_weights: Literal["balanced"] | None = None
    """balanced: the loss of a class counts in inverse proportion to how often it is in training, so
    that rare classes count as much as frequent ones; probabilities are no longer calibrated."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread evenly over all classes (Szegedy et al., 2016)."""

    def statistics(self, labels: Int[np.ndarray, " seeds"], num_classes: int) -> Statistics:
        """Return the logarithms of the class frequencies (one is added to each count)."""
        counts = torch.from_numpy(np.bincount(labels, minlength=num_classes) + 1.0)
        shares, ones = counts / counts.sum(), torch.ones(num_classes).double()
        if self.class_weights is None:
            return Statistics(shares.log(), ones)
        return Statistics(torch.zeros(num_classes).double(), ones, 1 / (num_classes * shares))

    def loss_sum(
        self,
        prediction: Float[Tensor, "seeds classes"],
        target: Int[Tensor, " seeds"],
        statistics: Statistics,
    ) -> Float[Tensor, ""]:
        """Return the summed cross-entropy, in nats."""
        weight = statistics.class_weight
        return F.cross_entropy(
            prediction,
            target,
            None if weight is None else weight.to(prediction),
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def count(self, labels: Int[np.ndarray, " seeds"], statistics: Statistics) -> float:
        """Return the number of labels, or the sum of their weights."""
        weight = statistics.class_weight
        return len(labels) if weight is None else float(weight.numpy()[labels].sum())

    def scores(self, prediction: Float[Tensor, "seeds classes"]) -> Float[Tensor, "seeds classes"]:
        """Return class probabilities."""
        return prediction.softmax(-1)

    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return accuracy and macro-F1; for two classes areas under the ROC and the PR curve."""
        from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

        from mtl.tasks._metrics import Area, precision_recall, roc, second_of_two

        metrics: dict[str, Metric] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro"),
            "macro_f1": MulticlassF1Score(num_classes, average="macro"),
        }
        if num_classes == 2:
            metrics["auroc"] = Area(roc, second_of_two)
            metrics["average_precision"] = Area(precision_recall, second_of_two)
        return metrics
