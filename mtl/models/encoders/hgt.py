"""encoder: heterogeneous graph transformer (Hu et al., 2020, equations 3 to 5)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders._attention import Attention
from mtl.models.encoders._messages import added, gathered, softmax, summed
from mtl.models.modules import Linears, key, some
from mtl.models.neighborhood import Edges, Hop


@dataclass(frozen=True, kw_only=True)
class Hgt(Attention):
    """h_v = g A(gelu(sum_e a_e V(h_u) M_r)) + (1 - g) h_v, a_e = softmax(mu_r K(h_u) W_r Q(h_v)).

    The softmax is over all sampled in-edges of v, of all relations r. K, Q, V, A and the gate g
    belong to node types, W, M and mu to relations; as PyG's HGTConv. A type that no relation leads
    to keeps its embeddings.
    """

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "HgtConvolution":
        """Make one layer."""
        return HgtConvolution(
            dim, self.num_heads, node_types, some(self.type, node_types, edge_types)
        )


class HgtConvolution(nn.Module):
    """One HGT layer."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        node_types: Collection[str],
        edge_types: Collection[EdgeType],
    ) -> None:
        super().__init__()
        self.node_types, self.edge_types = tuple(node_types), tuple(edge_types)
        self.heads = num_heads, dim // num_heads
        self.source_types = tuple(dict.fromkeys(kind[0] for kind in edge_types))
        targets = dict.fromkeys(kind[2] for kind in edge_types)
        self.keys_values = Linears(((kind, dim) for kind in self.source_types), 2 * dim)
        self.queries = Linears(((kind, dim) for kind in targets), dim)
        self.outputs = Linears(((kind, dim) for kind in targets), dim)
        self.gates = nn.ParameterDict({key(kind): torch.ones(()) for kind in targets})
        self.relations = nn.ModuleDict({key(kind): Relation(*self.heads) for kind in edge_types})

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        told = {
            kind: _split(x[kind].through(self.keys_values.of(kind)), 2, *self.heads)
            for kind in self.source_types
        }
        own = {kind: x[kind].first(hop.num_destinations[kind]) for kind in self.node_types}
        return {kind: self._updated(kind, h, told, hop) for kind, h in own.items()}

    def _updated(
        self, target: str, x: Embeddings, told: Mapping[str, Tensor], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        relations = [kind for kind in self.edge_types if kind[2] == target]
        old = x.dense()
        if not relations:
            return old
        queries = _split(x.through(self.queries.of(target)), *self.heads)
        heard = self._heard(relations, queries, told, hop)
        new: Tensor = self.outputs.of(target)(nn.functional.gelu(heard))
        gate: Tensor = self.gates[key(target)].sigmoid()
        return gate * new + (1 - gate) * old

    def _heard(
        self,
        kinds: Collection[EdgeType],
        queries: Float[Tensor, "destinations *tasks heads width"],
        told: Mapping[str, Float[Tensor, "sources *tasks two heads width"]],
        hop: Hop,
    ) -> Float[Tensor, "destinations *tasks dim"]:
        relations = [self._relation(kind) for kind in kinds]
        edges = [hop.edges[kind] for kind in kinds]
        parts = [
            gathered(told[kind[0]], its.row).unbind(-3)
            for kind, its in zip(kinds, edges, strict=True)
        ]
        scores = [
            (gathered(relation.wanted(queries), its.destination) * keys).sum(-1)
            for relation, its, (keys, _) in zip(relations, edges, parts, strict=True)
        ]
        shares = _softmax_of_all(scores, edges, len(queries))
        total = torch.zeros_like(queries).flatten(-2)
        for relation, its, (_, values), share in zip(relations, edges, parts, shares, strict=True):
            mixed = summed(share.unsqueeze(-1).to(values.dtype) * values, its)
            total = added(its, total, relation.translated(mixed))
        return total

    def _relation(self, kind: EdgeType) -> "Relation":
        relation = self.relations[key(kind)]
        assert isinstance(relation, Relation)
        return relation


class Relation(nn.Module):
    """W, M and mu of one relation.

    Both matrices act on destinations, of which there are fewer than sources or edges: k W q is
    k (W q), and a sum of values times M is the sum of the products.
    """

    def __init__(self, num_heads: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        square = num_heads, width, width
        self.attention = nn.Parameter(torch.empty(square).uniform_(-bound, bound))
        self.message = nn.Parameter(torch.empty(square).uniform_(-bound, bound))
        self.prior = nn.Parameter(torch.ones(num_heads, 1, 1))

    def wanted(
        self, queries: Float[Tensor, "destinations *tasks heads width"]
    ) -> Float[Tensor, "destinations *tasks heads width"]:
        """Return `mu W q / sqrt(width)`, whose product with a key is the score."""
        weight = self.attention * self.prior * queries.shape[-1] ** -0.5
        return torch.einsum("...hd,hcd->...hc", queries, weight)

    def translated(
        self, values: Float[Tensor, "listed *tasks heads width"]
    ) -> Float[Tensor, "listed *tasks dim"]:
        """Return mixed values times M, the heads side by side."""
        return torch.einsum("...hc,hcd->...hd", values, self.message).flatten(-2)


def _softmax_of_all(
    scores: list[Tensor], edges: list[Edges], num_destinations: int
) -> tuple[Tensor, ...]:
    """Return the shares of the edges of each relation, those of a destination adding up to 1."""
    destination = torch.cat([its.destination for its in edges])
    shares = softmax(torch.cat(scores), destination, num_destinations)
    return torch.split(shares, [len(its.row) for its in edges])


def _split(x: Float[Tensor, "nodes *tasks dim"], *shape: int) -> Tensor:
    return x.view(*x.shape[:-1], *shape)
