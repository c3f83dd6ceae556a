"""sharing: several inputs and outputs through one trunk (after MIMO: Havasi et al., 2021)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.sharing import Sharing

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, kw_only=True)
class Mimo(Sharing):
    """An input projection and a head for each task around one trunk, whose weights all share.

    Each task sends its own view of the features through the trunk: the tasks travel side by side,
    as [nodes, tasks, dim], so one pass over the neighbourhood serves all of them.
    """

    def build(
        self,
        tasks: Sequence[str],
        projection: Callable[[], nn.Module],
        trunk: Callable[[], nn.Module],
    ) -> nn.Module:
        """Make one projection a task and one trunk."""
        return MultiInput({task: projection() for task in tasks}, trunk())


class MultiInput(nn.Module):
    """An embedding of its own for every task, out of the same trunk."""

    def __init__(self, projections: dict[str, nn.Module], trunk: nn.Module) -> None:
        super().__init__()
        self.projections, self.trunk = nn.ModuleDict(projections), trunk

    def forward(self, batch: "Data") -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the embeddings of the seeds."""
        views = [projection(batch.x) for projection in self.projections.values()]
        seeds = self.trunk(torch.stack(views, 1), batch)
        return dict(zip(self.projections, seeds.unbind(1), strict=True))
