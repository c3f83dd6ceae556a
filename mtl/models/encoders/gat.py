"""encoder: graph attention with dynamic scores (GATv2: Brody et al., 2022, equation 7)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders._attention import Attention
from mtl.models.modules import Linears, key
from mtl.models.neighborhood import Hop
from mtl.plugin import Share


@dataclass(frozen=True, kw_only=True)
class Gat(Attention):
    """Attention over the sampled in-neighbours of each relation, summed; by PyG's GATv2Conv.

    A node attends to itself in relations between nodes of its own type, by a self-loop with edge
    features of 0. What relations from other types alone lead to is added through a linear layer.
    """

    reads_edge_features: ClassVar[bool] = True

    attention_dropout: Share = 0.0
    """Share of the attention coefficients that is dropped in training."""

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "GatConvolution":
        """Make one layer."""
        return GatConvolution(dim, self.num_heads, self.attention_dropout, node_types, edge_types)


class GatConvolution(nn.Module):
    """One GATv2 layer; tasks side by side run as disjoint copies of the graph."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dropout: float,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> None:
        super().__init__()
        from torch_geometric.nn import GATv2Conv  # 3 s that reading a configuration does not need

        self.node_types, self.edge_types = tuple(node_types), dict(edge_types)
        looped = {target for source, _, target in edge_types if source == target}
        self.root_types = tuple(kind for kind in node_types if kind not in looped)
        self.root = Linears(((kind, dim) for kind in self.root_types), dim)
        self.attention = nn.ModuleDict(
            {
                key(kind): GATv2Conv(
                    dim,
                    dim // num_heads,
                    heads=num_heads,
                    dropout=dropout,
                    add_self_loops=False,
                    edge_dim=width or None,
                )
                for kind, width in edge_types.items()
            }
        )

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        terms: dict[str, list[Tensor]] = {kind: [] for kind in self.node_types}
        for kind in self.root_types:
            own = x[kind].first(hop.num_destinations[kind])
            terms[kind].append(own.through(self.root.of(kind)))
        for edge_type in self.edge_types:
            terms[edge_type[2]].append(self._heard(edge_type, x, hop))
        return {kind: reduce(torch.add, of_kind) for kind, of_kind in terms.items()}

    def _heard(
        self, edge_type: EdgeType, x: Mapping[str, Embeddings], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        source, _, target = edge_type
        count, sources = hop.num_destinations[target], x[source].dense()
        own = sources[:count] if source == target else x[target].first(count).dense()
        ends, features = self._edges(edge_type, hop)
        num_tasks = sources.shape[1] if sources.dim() == 3 else 1
        task = torch.arange(num_tasks, device=ends.device).unsqueeze(1)
        sizes = (len(sources), count)
        copies = [end + task * size for end, size in zip(ends, sizes, strict=True)]
        disjoint = torch.stack(copies).flatten(1)
        if features is not None:
            features = features.to(sources.dtype).repeat(num_tasks, 1)
        out: Tensor = self.attention[key(edge_type)](
            (_copies(sources), _copies(own)), disjoint, features
        )
        by_task = out.view(num_tasks, count, own.shape[-1]).transpose(0, 1)
        return by_task.reshape(own.shape)

    def _edges(
        self, edge_type: EdgeType, hop: Hop
    ) -> tuple[Int[Tensor, "2 edges"], Float[Tensor, "edges features"] | None]:
        """Return sources and destinations, with the self-loops, and features where they count."""
        edges = hop.edges[edge_type]
        ends = torch.stack([edges.row, edges.destination])
        features = edges.features if self.edge_types[edge_type] else None
        if edge_type[0] != edge_type[2]:
            return ends, features
        count = hop.num_destinations[edge_type[2]]
        loops = torch.arange(count, device=ends.device).expand(2, -1)
        if features is not None:
            features = torch.cat([features, features.new_zeros(count, features.shape[1])])
        return torch.cat([ends, loops], 1), features


def _copies(x: Float[Tensor, "nodes *tasks dim"]) -> Float[Tensor, "copies dim"]:
    """Return the nodes of all tasks, one task after the other."""
    return x if x.dim() == 2 else x.transpose(0, 1).reshape(-1, x.shape[2])
