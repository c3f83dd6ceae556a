"""sharing: hard parameter sharing, the shared bottom (Caruana, 1997)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._parting import Parting, Representation

if TYPE_CHECKING:
    from mtl.models.projection import Projection
    from mtl.models.sharing import SeedEmbeddings
    from mtl.models.trunk import Trunk


@dataclass(frozen=True, kw_only=True)
class Hard(Sharing):
    """One input projection and one trunk for all tasks; only the heads differ."""

    def build(self, parts: Parts) -> "SharedBottom":
        """Make the shared bottom."""
        return SharedBottom(parts.tasks, parts.projection(()), parts.trunk())


class SharedBottom(Parting):
    """The same embedding for every task on the same nodes."""

    def __init__(
        self, tasks: Mapping[str, tuple[str, ...]], projection: "Projection", trunk: "Trunk"
    ) -> None:
        super().__init__()
        self.tasks, self.projection, self.trunk = dict(tasks), projection, trunk

    def represent(self, x: Mapping[str, Tensor]) -> Representation:
        """Return the embeddings of the seeds of each type."""
        return dict(x)

    def apart(self, common: Mapping[str, Tensor]) -> "SeedEmbeddings":
        """Return those of the types that each task reads."""
        return {task: {kind: common[kind] for kind in kinds} for task, kinds in self.tasks.items()}
