"""sharing: several inputs and outputs through one trunk (after MIMO: Havasi et al., 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._bottom import SHARED, OneTrunk

if TYPE_CHECKING:
    from mtl.models.projection import Projection
    from mtl.models.sharing import SeedEmbeddings
    from mtl.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Mimo(Sharing):
    """An input projection and a head for each task around one trunk, whose weights all share.

    Each task sends its own view of the features through the trunk: the tasks travel side by side,
    as [nodes, tasks, dim], so one pass over the neighbourhood serves all of them.
    """

    no_representation: ClassVar[str | None] = (
        "each task's gradient lies in rows of its own, so that no two ever disagree there"
    )

    def build(self, parts: Parts) -> "MultiInput":
        """Make one projection a task and one trunk."""
        return MultiInput(parts.tasks, parts.projection(tuple(parts.tasks)), parts.trunk())


class MultiInput(OneTrunk):
    """An embedding of its own for every task, out of the same trunk."""

    def __init__(
        self, tasks: Mapping[str, tuple[str, ...]], projection: "Projection", trunk: "Trunk"
    ) -> None:
        super().__init__()
        self.tasks, self.projection, self.trunk = dict(tasks), projection, trunk

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return each task's view of the embeddings of the seeds."""
        seeds = out[SHARED]
        return {
            task: {kind: seeds[kind][:, view] for kind in kinds}
            for view, (task, kinds) in enumerate(self.tasks.items())
        }
