"""sharing: none, a network for each task: the baseline that sharing has to beat."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop
from mtl.models.sharing import Parts, Sharing
from mtl.models.sharing._bottom import SHARED, Bottom, Inputs, Streams
from mtl.models.sharing.hard import Hard, SharedBottom

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.sharing import SeedEmbeddings


@dataclass(frozen=True, kw_only=True)
class Separate(Sharing):
    """An input projection and a trunk for each task; they read the same subgraphs, that is all."""

    no_representation: ClassVar[str | None] = "the tasks have nothing in common"

    def build(self, parts: Parts) -> "SideBySide":
        """Make a network a task."""
        return SideBySide({task: Hard().build(parts.only(task)) for task in parts.tasks})


class SideBySide(Bottom):
    """The bottoms of single tasks."""

    def __init__(self, bottoms: Mapping[str, SharedBottom]) -> None:
        super().__init__()
        self.bottoms = nn.ModuleDict(bottoms)
        self.num_layers = next(iter(bottoms.values())).num_layers

    def compile_training(self) -> None:
        """Compile each network."""
        for _, bottom in self._each():
            bottom.compile_training()

    def start(self, batch: "Data | HeteroData") -> dict[str, dict[str, Embeddings]]:
        """Return what goes into the first layer of each network."""
        return {task: bottom.start(batch)[SHARED] for task, bottom in self._each()}

    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what one layer of each network hands on."""
        return {
            task: bottom.step(layer, {SHARED: x[task]}, hop, num_seeds)[SHARED]
            for task, bottom in self._each()
        }

    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return the embeddings that each network ends with."""
        return {task: bottom.finish({SHARED: out[task]})[task] for task, bottom in self._each()}

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds, one network after the other: they are in no hurry."""
        return {task: bottom(batch)[task] for task, bottom in self._each()}

    def _each(self) -> Iterable[tuple[str, SharedBottom]]:
        return cast("Iterable[tuple[str, SharedBottom]]", self.bottoms.items())
