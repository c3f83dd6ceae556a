"""tasks: what to predict, how wrong a prediction is, and in which numbers people read that."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field

from mtl.plugin import Plugin

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped
    from torch import Tensor
    from torchmetrics import Metric

    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask

_NOT_TASKS = {"bound", "losses"}


class Statistics(NamedTuple):
    """What the training labels say before any feature is read.

    A head computes `prior + scale * raw`; the prior alone is the trivial predictor.
    """

    prior: "Float[Tensor, ' outputs']"
    scale: "Float[Tensor, ' outputs']"


@dataclass(frozen=True, kw_only=True)
class Task(Plugin):
    """Options that all tasks have; a module adds a kind of label, a loss and metrics."""

    kind: ClassVar[str]
    """Kind of label that the task predicts: class, multilabel or regression."""

    label: str
    """Name of the label in the graph."""
    node_type: str | None = None
    """Type of the labelled nodes; may be left out where the graph has one."""
    split: str | None = None
    """Name of the split into training, validation and test; default: the graph's first."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the loss, before balancing."""

    @classmethod
    def types(cls) -> list[str]:
        """Names that `type` may have: the modules of this package that hold a task."""
        return [name for name in super().types() if name not in _NOT_TASKS]

    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look the label and the split up in a graph.

        Raises:
            ConfigError: naming the YAML path, what was asked for and what the graph has.
        """
        from mtl.tasks.bound import bind  # torch is not needed to read a configuration

        return bind(self, name, store)

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
    def count(self, labels: "Shaped[np.ndarray, 'seeds ...']") -> int:
        """Return how many losses `loss_sum` adds up for these labels."""

    @abstractmethod
    def scores(self, prediction: "Float[Tensor, 'seeds outputs']") -> "Float[Tensor, 'seeds ...']":
        """Turn outputs into what metrics and people read: probabilities or the user's units."""

    @abstractmethod
    def metrics(self, num_classes: int) -> "dict[str, Metric]":
        """Return fresh metrics of `scores` and targets; the first one is the task's headline."""
