"""sharing: what the tasks have in common, and where their ways part."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from torch import nn

    from mtl.models.projection import Projection
    from mtl.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Sharing(Plugin):
    """Options that all ways of sharing have; a module adds its architecture."""

    @abstractmethod
    def build(
        self,
        tasks: Mapping[str, str],
        projection: "Callable[[tuple[str, ...]], Projection]",
        trunk: "Callable[[], Trunk]",
    ) -> "nn.Module":
        """Make the module from a batch to `{task: embeddings of its seeds [seeds, dim]}`.

        Args:
            tasks: name -> type of its seeds, in the order of the configuration.
            projection: makes an input projection with one view for each of the names, or one for
                all: [nodes, features] to [nodes, (tasks,) dim] of every node type.
            trunk: makes an encoder, [nodes, (tasks,) dim] and the batch to [seeds, (tasks,) dim].
        """
