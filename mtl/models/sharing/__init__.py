"""sharing: what the tasks have in common, and where their ways part."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from mtl.models.projection import Projection
    from mtl.models.sharing._bottom import Bottom
    from mtl.models.trunk import Trunk

    SeedEmbeddings: TypeAlias = "dict[str, dict[str, Float[Tensor, 'seeds dim']]]"
    """For each task, the embeddings of all seeds of each node type that its head reads."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a way of sharing is put together from."""

    tasks: "Mapping[str, tuple[str, ...]]"
    """Name -> node types that its head reads, in the order of the configuration."""
    dim: int
    """Width of the embeddings."""
    projection: "Callable[[tuple[str, ...]], Projection]"
    """Makes an input projection with one view for each of the names, or one for all: the raw
    features of a batch to [nodes, (tasks,) dim] of every node type."""
    trunk: "Callable[[], Trunk]"
    """Makes an encoder: [nodes, (tasks,) dim] and the batch to [seeds, (tasks,) dim]."""
    of: "Callable[[Mapping[str, tuple[str, ...]]], Parts]"
    """Makes the parts for some of the tasks: with weights for those types alone from which
    something reaches these tasks."""

    def only(self, task: str) -> "Parts":
        """Return the parts for one task alone."""
        return self.of({task: self.tasks[task]})


@dataclass(frozen=True, kw_only=True)
class Sharing(Plugin):
    """Options that all ways of sharing have; a module adds its architecture."""

    no_representation: ClassVar[str | None] = None
    """Why there are no tensors that every task reads; None where there are, and `build` makes a
    `Parting`."""

    @abstractmethod
    def build(self, parts: Parts) -> "Bottom":
        """Make the module from a batch to `SeedEmbeddings`, one step a layer."""
