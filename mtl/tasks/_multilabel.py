"""tasks: any number of classes, every one of which may be unknown, by binary cross-entropy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from mtl.tasks import Statistics
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from torchmetrics import Metric

MISSING = -1


@dataclass(frozen=True, kw_only=True)
class Multilabel(LabelTask):
    """Predict which of several classes apply."""

    kind: ClassVar[str] = "multilabel"

    def statistics(self, labels: Int[np.ndarray, "seeds classes"], num_classes: int) -> Statistics:
        """Return the log-odds of each class (one positive and one negative are added)."""
        positive = torch.from_numpy((labels == 1).sum(0) + 1.0)
        negative = torch.from_numpy((labels == 0).sum(0) + 1.0)
        return Statistics((positive / negative).log(), torch.ones(num_classes).double())

    def loss_sum(
        self,
        prediction: Float[Tensor, "seeds classes"],
        target: Int[Tensor, "seeds classes"],
        statistics: Statistics,
    ) -> Float[Tensor, ""]:
        """Return the binary cross-entropy summed over all known labels, in nats."""
        known = target != MISSING
        losses = F.binary_cross_entropy_with_logits(
            prediction, target.clamp(min=0).to(prediction.dtype), reduction="none"
        )
        return (losses * known).sum()

    def count(self, labels: Int[np.ndarray, "seeds classes"], statistics: Statistics) -> float:
        """Return the number of known labels."""
        return int((labels != MISSING).sum())

    def scores(self, prediction: Float[Tensor, "seeds classes"]) -> Float[Tensor, "seeds classes"]:
        """Return the probability of each class."""
        return prediction.sigmoid()

    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return macro AUROC, micro F1 and accuracy over all known labels."""
        from torchmetrics.classification import MultilabelAccuracy

        from mtl.tasks._metrics import Area, MicroF1, each_class, roc

        return {
            "auroc": Area(roc, each_class),
            "micro_f1": MicroF1(num_classes, average="micro", ignore_index=MISSING),
            "accuracy": MultilabelAccuracy(num_classes, average="micro", ignore_index=MISSING),
        }
