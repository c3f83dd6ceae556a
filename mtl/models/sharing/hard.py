"""sharing: hard parameter sharing, the shared bottom (Caruana, 1997)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from mtl.models.sharing import Parts, Sharing

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.projection import Projection
    from mtl.models.sharing import SeedEmbeddings
    from mtl.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Hard(Sharing):
    """One input projection and one trunk for all tasks; only the heads differ."""

    def build(self, parts: Parts) -> nn.Module:
        """Make the shared bottom."""
        return SharedBottom(parts.tasks, parts.projection(()), parts.trunk())


class SharedBottom(nn.Module):
    """The same embedding for every task on the same nodes."""

    def __init__(
        self, tasks: Mapping[str, tuple[str, ...]], projection: "Projection", trunk: "Trunk"
    ) -> None:
        super().__init__()
        self.tasks, self.projection, self.trunk = dict(tasks), projection, trunk

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        shared = self.trunk(self.projection(batch), batch)
        return {task: {kind: shared[kind] for kind in kinds} for task, kinds in self.tasks.items()}
