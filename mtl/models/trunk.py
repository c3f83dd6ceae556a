"""encoder: layers over a sampled neighbourhood, each computing only what the next one reads."""

from collections.abc import Collection, Mapping
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData

from mtl.graphs.schema import EdgeType
from mtl.models.activation import ReLUDropout
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.neighborhood import Hop, hops


class Convolution(Protocol):
    """One layer of message passing over any number of tasks side by side."""

    def __call__(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        ...


class Trunk(nn.Module):
    """Convolutions, with normalisation, ReLU and dropout between them (as PyG's BasicGNN).

    A layer has weights for those types alone from which something reaches a seed: every weight gets
    a gradient.

    Args:
        encoder: options and kind of convolution.
        dim: width of every layer.
        seed_types: types of the seeds.
        edge_types: that messages pass along, with the number of features of their edges.
    """

    def __init__(
        self,
        encoder: Encoder,
        dim: int,
        seed_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> None:
        super().__init__()
        types = layer_types(encoder, seed_types, edge_types)
        self.input_types = tuple(types[0])
        self.convolutions = nn.ModuleList(
            encoder.convolution(  # type: ignore[misc]
                dim, i, kinds, {e: width for e, width in edge_types.items() if e[2] in kinds}
            )
            for i, kinds in enumerate(types[1:])
        )
        self.norms = nn.ModuleList(_norms(encoder.norm, kinds, dim) for kinds in types[1:-1])
        self.activation = ReLUDropout(encoder.dropout)

    def forward(
        self, x: Mapping[str, Embeddings], batch: Data | HeteroData
    ) -> dict[str, Float[Tensor, "seeds *tasks dim"]]:
        """Return the embeddings of the seeds of each type, the first nodes of the batch."""
        out: dict[str, Tensor] = {}
        for layer, hop in enumerate(hops(batch, self.num_layers)):
            out = self.layer(layer, self.activated(layer, out) if layer else x, hop)
        return out

    @property
    def num_layers(self) -> int:
        """How many convolutions there are."""
        return len(self.convolutions)

    def layer(
        self, layer: int, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return what one convolution makes of its sources."""
        out: dict[str, Tensor] = self.convolutions[layer](x, hop)
        return out

    def activated(
        self, layer: int, out: Mapping[str, Float[Tensor, "nodes *tasks dim"]]
    ) -> dict[str, Embeddings]:
        """Return what goes into a layer above the first, of what came out of the one below."""
        return {kind: Embeddings(self._between(layer, kind, h)) for kind, h in out.items()}

    def _between(
        self, layer: int, kind: str, h: Float[Tensor, "nodes *tasks dim"]
    ) -> Float[Tensor, "nodes *tasks dim"]:
        norms = self.norms[layer - 1]
        assert isinstance(norms, nn.ModuleDict)
        out: Tensor = self.activation(norms[key(kind)](h))
        return out


def layer_types(
    encoder: Encoder, seed_types: Collection[str], edge_types: Collection[EdgeType]
) -> list[list[str]]:
    """Return the node types that go into each layer, and last the seeds' that come out."""
    types = [sorted(seed_types)]
    for _ in range(encoder.num_layers):
        sources = {source for source, _, kind in edge_types if kind in types[0]}
        types.insert(0, sorted({*types[0], *(sources if encoder.num_hops else ())}))
    return types


def _norms(norm: str, kinds: Collection[str], dim: int) -> nn.ModuleDict:
    make = nn.LayerNorm if norm == "layer" else nn.Identity
    return nn.ModuleDict({key(kind): make(dim) for kind in kinds})
