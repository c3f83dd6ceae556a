"""tasks: predicting a label that the graph has; of nodes, edges or graphs alike."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mtl.tasks import Statistics, Task

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped
    from torch import Tensor
    from torchmetrics import Metric


@dataclass(frozen=True, kw_only=True)
class LabelTask(Task):
    """A task whose targets are a label."""

    kind: ClassVar[str]
    """Kind of label that the task predicts: class, multilabel or regression."""

    label: str
    """Name of the label in the graph."""

    @abstractmethod
    def statistics(self, labels: "Shaped[np.ndarray, 'seeds ...']", num_classes: int) -> Statistics:
        """Return prior and scale from the training labels."""

    @abstractmethod
    def loss_sum(
        self,
        prediction: "Float[Tensor, 'seeds outputs']",
        target: "Shaped[Tensor, 'seeds ...']",
        statistics: Statistics,
    ) -> "Float[Tensor, '']":
        """Return the sum of the losses; 0 for no seed. It is divided by a count of all ranks."""

    @abstractmethod
    def count(self, labels: "Shaped[np.ndarray, 'seeds ...']", statistics: Statistics) -> float:
        """Return how many losses `loss_sum` adds up for these labels; weighted ones by weight."""

    @abstractmethod
    def scores(self, prediction: "Float[Tensor, 'seeds outputs']") -> "Float[Tensor, 'seeds ...']":
        """Turn outputs into what metrics and people read: probabilities or the user's units."""

    @abstractmethod
    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return fresh metrics of `scores` and targets; the first one is the task's headline."""
