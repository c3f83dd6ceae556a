"""sharing: hard parameter sharing, the shared bottom (Caruana, 1997)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.sharing import Sharing

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, kw_only=True)
class Hard(Sharing):
    """One input projection and one trunk for all tasks; only the heads differ."""

    def build(
        self,
        tasks: Sequence[str],
        projection: Callable[[], nn.Module],
        trunk: Callable[[], nn.Module],
    ) -> nn.Module:
        """Make the shared bottom."""
        return SharedBottom(tasks, projection(), trunk())


class SharedBottom(nn.Module):
    """The same embedding for every task."""

    def __init__(self, tasks: Sequence[str], projection: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.projection, self.trunk = projection, trunk

    def forward(self, batch: "Data") -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the embeddings of the seeds."""
        shared = self.trunk(self.projection(batch.x), batch)
        return dict.fromkeys(self.tasks, shared)
