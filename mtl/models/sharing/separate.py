"""sharing: none, a network for each task: the baseline that sharing has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing.hard import Hard

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings


@dataclass(frozen=True, kw_only=True)
class Separate(Sharing):
    """An input projection and a trunk for each task; they read the same subgraphs, that is all."""

    no_representation: ClassVar[str | None] = "the tasks have nothing in common"

    def build(self, parts: Parts) -> nn.Module:
        """Make a network a task."""
        return SideBySide({task: Hard().build(parts.only(task)) for task in parts.tasks})


class SideBySide(nn.Module):
    """The bottoms of single tasks."""

    def __init__(self, bottoms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.bottoms = nn.ModuleDict(bottoms)

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        return {task: bottom(batch)[task] for task, bottom in self.bottoms.items()}
