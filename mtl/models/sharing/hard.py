"""sharing: hard parameter sharing, the shared bottom (Caruana, 1997)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.sharing import Sharing

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.projection import Projection
    from mtl.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Hard(Sharing):
    """One input projection and one trunk for all tasks; only the heads differ."""

    def build(
        self,
        tasks: Mapping[str, str],
        projection: "Callable[[tuple[str, ...]], Projection]",
        trunk: "Callable[[], Trunk]",
    ) -> nn.Module:
        """Make the shared bottom."""
        return SharedBottom(tasks, projection(()), trunk())


class SharedBottom(nn.Module):
    """The same embedding for every task on the same nodes."""

    def __init__(self, tasks: Mapping[str, str], projection: "Projection", trunk: "Trunk") -> None:
        super().__init__()
        self.tasks, self.projection, self.trunk = dict(tasks), projection, trunk

    def forward(self, batch: "Data | HeteroData") -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the embeddings of the seeds."""
        shared = self.trunk(self.projection(batch), batch)
        return {task: shared[node_type] for task, node_type in self.tasks.items()}
