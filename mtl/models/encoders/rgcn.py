"""encoder: relational graph convolution (Schlichtkrull et al., 2018, equations 2 and 3)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.encoders._messages import added, means
from mtl.models.modules import some
from mtl.models.neighborhood import Hop


@dataclass(frozen=True, kw_only=True)
class Rgcn(Encoder):
    """h_v = W_0 h_v + sum_r W_r mean(h_u), over the sampled in-neighbours u of each relation r.

    What `sage` has not: one W_0 for all node types, and relations that share their matrices.
    """

    num_bases: PositiveInt | None = None
    """Matrices that the W_r are mixtures of (equation 3); null: each is its own. Set it for dozens
    of relations, some of which have few edges to learn from."""

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "RgcnConvolution":
        """Make one layer."""
        return RgcnConvolution(
            dim, self.num_bases, node_types, some(self.type, node_types, edge_types)
        )


class RgcnConvolution(nn.Module):
    """One R-GCN layer; a node without neighbours of a relation hears 0 of it."""

    def __init__(
        self,
        dim: int,
        num_bases: int | None,
        node_types: Collection[str],
        edge_types: Collection[EdgeType],
    ) -> None:
        super().__init__()
        self.node_types, self.edge_types = tuple(node_types), tuple(edge_types)
        self.root = nn.Linear(dim, dim)
        self.matrices = _glorot(num_bases or len(edge_types), dim, dim)
        self.shares = None if num_bases is None else _glorot(len(edge_types), num_bases)

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        out = {
            kind: x[kind].first(hop.num_destinations[kind]).through(self.root)
            for kind in self.node_types
        }
        weight = dict(zip(self.edge_types, self._weights().unbind(), strict=True))
        for kind, edges, mean in means(x, hop, self.edge_types):
            heard = nn.functional.linear(mean.dense(), weight[kind])
            out[kind[2]] = added(edges, out[kind[2]], heard)
        return out

    def _weights(self) -> Float[Tensor, "relations dim dim"]:
        if self.shares is None:
            return self.matrices
        return torch.einsum("rb,bij->rij", self.shares, self.matrices)


def _glorot(*shape: int) -> nn.Parameter:
    bound = (6 / (shape[-1] + shape[-2])) ** 0.5
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
