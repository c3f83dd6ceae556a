"""sharing: what the tasks have in common, and where their ways part."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Sharing(Plugin):
    """Options that all ways of sharing have; a module adds its architecture."""

    @abstractmethod
    def build(
        self,
        tasks: Sequence[str],
        projection: "Callable[[], nn.Module]",
        trunk: "Callable[[], nn.Module]",
    ) -> "nn.Module":
        """Make the module from a batch to `{task: embeddings of the seeds [seeds, dim]}`.

        Args:
            tasks: names, in the order of the configuration.
            projection: makes an input projection, [nodes, features] to [nodes, dim].
            trunk: makes an encoder, [nodes, (tasks,) dim] and the batch to [seeds, (tasks,) dim].
        """
