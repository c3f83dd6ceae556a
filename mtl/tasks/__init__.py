"""tasks: what to predict, how wrong a prediction is, and in which numbers people read that."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask

_NOT_TASKS = {"bound", "losses"}


class Statistics(NamedTuple):
    """What the training labels say before any feature is read.

    A head computes `prior + scale * raw`; the prior alone is the trivial predictor.
    """

    prior: "Float[Tensor, ' outputs']"
    scale: "Float[Tensor, ' outputs']"
    class_weight: "Float[Tensor, ' outputs'] | None" = None
    """Factor of the loss of each class; None is 1."""


@dataclass(frozen=True, kw_only=True)
class Task(Plugin):
    """Options that all tasks have; a module adds what is predicted of what, a loss and metrics."""

    split: str | None = None
    """Name of the split into training, validation and test; default: the graph's first."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the loss, before balancing."""

    @classmethod
    def types(cls) -> list[str]:
        """Names that `type` may have: the modules of this package that hold a task."""
        return [name for name in super().types() if name not in _NOT_TASKS]

    @abstractmethod
    def bind(self, name: str, store: "GraphStore") -> "BoundTask":
        """Look up in a graph what the task reads.

        Raises:
            ConfigError: naming the YAML path, what was asked for and what the graph has.
        """
