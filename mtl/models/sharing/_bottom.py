"""sharing: what a way of sharing is made of: a step for each layer, between a start and an end.

What happens at a node in a step depends on the node and its in-neighbours alone. So the steps can
be taken over one batch, which training does, or each over all nodes of a graph before the next one.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings
from mtl.models.neighborhood import Hop, hops, node_values
from mtl.models.sharing._layers import convolved, taken

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData

    from mtl.models.projection import Projection
    from mtl.models.sharing import SeedEmbeddings
    from mtl.models.trunk import Trunk

SHARED = "all-tasks"
"""Name of the stream that no task owns; no identifier, so no task is called this."""

Inputs: TypeAlias = Mapping[str, Mapping[str, Embeddings]]
"""What goes into a layer: name of a stream -> node type -> embeddings of its nodes."""
Streams: TypeAlias = dict[str, dict[str, Float[Tensor, "nodes *tasks dim"]]]
"""What a layer hands on, each stream for itself."""


class Bottom(nn.Module):
    """A batch to the embeddings that the tasks' heads read, layer by layer."""

    num_layers: int
    _compiled: Callable[["Bottom", "Data | HeteroData"], Streams] | None = None

    @abstractmethod
    def start(self, batch: "Data | HeteroData") -> dict[str, dict[str, Embeddings]]:
        """Return what goes into the first layer, for all nodes of a batch."""

    @abstractmethod
    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what one layer hands on, for its destinations.

        Args:
            layer: number of the layer.
            x: embeddings of its sources, the destinations first.
            hop: the edges between them.
            num_seeds: how many of the first nodes of each type the heads may read.
        """

    @abstractmethod
    def finish(self, out: Mapping[str, Mapping[str, Tensor]]) -> "SeedEmbeddings":
        """Return what the heads read, of what the last layer has handed on for the seeds."""

    def compile_training(self) -> None:
        """Have torch.compile fuse what a training step computes here, once for batches of any size.

        Its random numbers are those that it would draw otherwise on a GPU. Evaluation stays as it
        is: whoever evaluates elsewhere gets the same numbers.
        """
        torch._functorch.config.donated_buffer = False  # some balancings go backward many times
        options: dict[str, Any] = {"fallback_random": True}
        self._compiled = torch.compile(Bottom._through, dynamic=True, options=options)

    def through(self, batch: "Data | HeteroData") -> Streams:
        """Return what the last layer hands on for the seeds of a batch."""
        if self.training and self._compiled is not None and _has_nodes(batch):
            return self._compiled(self, batch)
        return self._through(batch)

    def _through(self, batch: "Data | HeteroData") -> Streams:
        reads = list(hops(batch, self.num_layers))
        x = self.start(batch)
        out: Streams = {}
        for layer, hop in enumerate(reads):
            out = self.step(layer, x, hop, reads[-1].num_destinations)
            x = {name: taken(stream) for name, stream in out.items()}
        return out

    def forward(self, batch: "Data | HeteroData") -> "SeedEmbeddings":
        """Return the embeddings of the seeds."""
        return self.finish(self.through(batch))


class OneTrunk(Bottom):
    """A bottom whose layers are those of one trunk; subclasses make both parts."""

    projection: "Projection"
    trunk: "Trunk"

    @property
    def num_layers(self) -> int:  # type: ignore[override]
        """How many convolutions there are."""
        return self.trunk.num_layers

    def start(self, batch: "Data | HeteroData") -> dict[str, dict[str, Embeddings]]:
        """Return the projected features."""
        return {SHARED: self.projection(batch)}

    def step(self, layer: int, x: Inputs, hop: Hop, num_seeds: Mapping[str, int]) -> Streams:
        """Return what the trunk's layer hands on."""
        return {SHARED: convolved(self.trunk, layer, x[SHARED], hop)}


def _has_nodes(batch: "Data | HeteroData") -> bool:
    """Say whether a batch is worth compiling for: sizes of 0 would need code of their own."""
    return any(len(nodes) for nodes in node_values(batch, "n_id").values())
