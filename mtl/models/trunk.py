"""encoder: layers over a sampled neighbourhood, each computing only what the next one reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mtl.models.encoders import Encoder

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True)
class Hop:
    """What one layer reads: edges from all nodes so far to the nodes the next layer needs.

    Destinations are a prefix of the sources; edges are sorted by destination.
    """

    edge_index: Int[Tensor, "2 edges"]
    num_destinations: int
    in_degree: Int[Tensor, " sources"]
    """In-neighbours in the whole graph; more than the edges here where they were sampled."""

    @property
    def colptr(self) -> Int[Tensor, " destinations_and_one"]:
        """Where the edges of each destination start."""
        bounds = torch.arange(self.num_destinations + 1, device=self.edge_index.device)
        return torch.searchsorted(self.edge_index[1].contiguous(), bounds)


class Convolution(Protocol):
    """One layer of message passing over any number of tasks side by side."""

    def __call__(
        self, x: Float[Tensor, "sources *tasks dim"], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        """Return new embeddings of the destinations."""
        ...


class Trunk(nn.Module):
    """Convolutions, with normalisation, ReLU and dropout between them (as PyG's BasicGNN).

    Args:
        encoder: options and kind of convolution.
        dim: width of every layer.
    """

    def __init__(self, encoder: Encoder, dim: int) -> None:
        super().__init__()
        layers = range(encoder.num_layers)
        self.convolutions = nn.ModuleList(
            encoder.convolution(dim, layer)  # type: ignore[misc]
            for layer in layers
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim) if encoder.norm == "layer" else nn.Identity() for _ in layers[1:]
        )
        self.dropout = nn.Dropout(encoder.dropout)

    def forward(
        self, x: Float[Tensor, "nodes *tasks dim"], batch: "Data"
    ) -> Float[Tensor, "seeds *tasks dim"]:
        """Return the embeddings of the seeds, the first nodes of the batch."""
        hops = _hops(batch, len(self.convolutions))
        for layer, (convolution, hop) in enumerate(zip(self.convolutions, hops, strict=True)):
            if layer:
                x = self.dropout(self.norms[layer - 1](x).relu())
            x = convolution(x, hop)
        return x


def _hops(batch: "Data", num_layers: int) -> Iterator[Hop]:
    """Yield what each layer reads: the first all edges, the last those of the seeds alone.

    A batch without edges (the encoder looks at no neighbour) has its seeds as every destination.
    """
    nodes, edges = batch.num_sampled_nodes, batch.num_sampled_edges
    for hops in range(num_layers, 0, -1):
        num_sources = sum(nodes[: hops + 1])
        yield Hop(
            batch.edge_index[:, : sum(edges[:hops])],
            sum(nodes[:hops]),
            batch.in_degree[:num_sources],
        )
