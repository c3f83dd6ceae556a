"""sharing: several inputs and outputs through one trunk (after MIMO: Havasi et al., 2021)."""

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
class Mimo(Sharing):
    """An input projection and a head for each task around one trunk, whose weights all share.

    Each task sends its own view of the features through the trunk: the tasks travel side by side,
    as [nodes, tasks, dim], so one pass over the neighbourhood serves all of them.
    """

    def build(
        self,
        tasks: Mapping[str, str],
        projection: "Callable[[tuple[str, ...]], Projection]",
        trunk: "Callable[[], Trunk]",
    ) -> nn.Module:
        """Make one projection a task and one trunk."""
        return MultiInput(tasks, projection(tuple(tasks)), trunk())


class MultiInput(nn.Module):
    """An embedding of its own for every task, out of the same trunk."""

    def __init__(self, tasks: Mapping[str, str], projection: "Projection", trunk: "Trunk") -> None:
        super().__init__()
        self.tasks, self.projection, self.trunk = dict(tasks), projection, trunk

    def forward(self, batch: "Data | HeteroData") -> dict[str, Float[Tensor, "seeds dim"]]:
        """Return the embeddings of the seeds."""
        seeds = self.trunk(self.projection(batch), batch)
        by_task = enumerate(self.tasks.items())
        return {task: seeds[node_type][:, view] for view, (task, node_type) in by_task}
