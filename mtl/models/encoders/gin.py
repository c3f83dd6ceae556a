"""encoder: graph isomorphism network (Xu et al., 2019, equation 4.1)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.encoders._messages import added, embedded, gathered, summed
from mtl.models.modules import Linears
from mtl.models.neighborhood import Edges, Hop


@dataclass(frozen=True, kw_only=True)
class Gin(Encoder):
    """h_v = MLP((1 + eps) h_v + sum_u h_u), over the sampled in-neighbours u; eps is learned.

    Where edges have features e, relu(h_u + W e) stands for h_u (GINE: Hu et al., 2020, as in PyG's
    GINEConv). Of several relations each has a matrix that its sum goes through, and each type of v
    has an MLP. Sums grow with the neighbours drawn: evaluate with the fan-out of training.
    """

    reads_edge_features: ClassVar[bool] = True

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "GinConvolution":
        """Make one layer."""
        return GinConvolution(dim, node_types, edge_types)


class GinConvolution(nn.Module):
    """One GIN layer with an MLP of two linear layers."""

    def __init__(
        self, dim: int, node_types: Collection[str], edge_types: Mapping[EdgeType, int]
    ) -> None:
        super().__init__()
        self.node_types, self.edge_types = tuple(node_types), dict(edge_types)
        self.eps = nn.Parameter(torch.zeros(()))
        self.edges = Linears(((kind, width) for kind, width in edge_types.items() if width), dim)
        several = edge_types if len(edge_types) > 1 else ()
        self.relations = Linears(((kind, dim) for kind in several), dim, bias=False)
        self.inner = Linears(((kind, dim) for kind in node_types), dim)
        self.outer = Linears(((kind, dim) for kind in node_types), dim)

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        total = {
            kind: (1 + self.eps) * x[kind].first(hop.num_destinations[kind]).dense()
            for kind in self.node_types
        }
        for kind in self.edge_types:
            edges = hop.edges[kind]
            heard = self._heard(kind, x[kind[0]], edges)
            total[kind[2]] = added(edges, total[kind[2]], heard)
        return {
            kind: self.outer.of(kind)(self.inner.of(kind)(h).relu()) for kind, h in total.items()
        }

    def _heard(
        self, kind: EdgeType, x: Embeddings, edges: Edges
    ) -> Float[Tensor, "listed *tasks dim"]:
        if self.edge_types[kind]:
            messages = gathered(x.dense(), edges.row)
            messages = (messages + embedded(self.edges.of(kind), edges, messages)).relu()
            sums = Embeddings(summed(messages, edges))
        else:
            sums = x.summed(torch.ones_like(edges.row, dtype=x.exact), edges)
        return sums.through(self.relations.of(kind)) if len(self.relations) else sums.dense()
