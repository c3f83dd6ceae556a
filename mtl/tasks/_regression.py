"""tasks: one number."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from mtl.errors import ConfigError
from mtl.tasks import Statistics
from mtl.tasks._labelled import LabelTask

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True, kw_only=True)
class Regression(LabelTask):
    """Predict a number; the loss is in standard deviations of the training labels."""

    kind: ClassVar[str] = "regression"

    loss: Literal["mse", "mae", "huber", "poisson"] = "mse"
    """Squared, absolute, or Huber's loss (squared below one standard deviation, linear above); for
    counts poisson: half the deviance of a Poisson distribution, whose log mean is predicted."""

    def statistics(self, labels: Float[np.ndarray, " seeds"], num_classes: int) -> Statistics:
        """Return mean and standard deviation (1 where all are equal), in the user's units.

        Raises:
            ConfigError: a count is negative.
        """
        values = torch.from_numpy(labels).double()
        if self.loss == "poisson":
            if len(labels) and labels.min() < 0:
                raise ConfigError(
                    f"loss: poisson is for counts, and {self.label!r} has {labels.min():g}"
                )
            return Statistics(values.mean().clamp(min=1e-6).log().view(1), torch.ones(1).double())
        scale = values.std(correction=0)
        return Statistics(values.mean().view(1), torch.where(scale > 0, scale, 1.0).view(1))

    def loss_sum(
        self,
        prediction: Float[Tensor, "seeds 1"],
        target: Float[Tensor, " seeds"],
        statistics: Statistics,
    ) -> Float[Tensor, ""]:
        """Return the summed loss of standardised values, or the deviance of counts."""
        if self.loss == "poisson":
            log_mean, counts = prediction.squeeze(1), target.to(prediction.dtype)
            own = torch.xlogy(counts, counts) - counts
            return (own - counts * log_mean + log_mean.exp()).sum()
        scale = statistics.scale.to(prediction)
        error = (prediction.squeeze(1) - target.to(prediction.dtype)) / scale
        zero = torch.zeros_like(error)
        if self.loss == "huber":
            return F.huber_loss(error, zero, reduction="sum")
        return (error.abs() if self.loss == "mae" else error.square()).sum()

    def count(self, labels: Float[np.ndarray, " seeds"], statistics: Statistics) -> float:
        """Return the number of labels."""
        return len(labels)

    def scores(self, prediction: Float[Tensor, "seeds 1"]) -> Float[Tensor, " seeds"]:
        """Return predictions in the user's units."""
        out = prediction.squeeze(1)
        return out.exp() if self.loss == "poisson" else out

    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return R2, and the mean absolute and root mean squared error in the user's units."""
        from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

        from mtl.tasks._metrics import VarianceExplained

        return {
            "r2": VarianceExplained(),
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False),
        }
