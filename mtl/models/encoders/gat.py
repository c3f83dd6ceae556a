"""encoder: graph attention with dynamic scores (GATv2: Brody et al., 2022, equation 7)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import only
from mtl.models.neighborhood import Hop
from mtl.plugin import Share


@dataclass(frozen=True, kw_only=True)
class Gat(Encoder):
    """Attention over the sampled in-neighbours and the node itself, by PyG's GATv2Conv."""

    num_heads: PositiveInt = 8
    """Attention heads, each `model.dim` / num_heads wide."""
    attention_dropout: Share = 0.0
    """Share of the attention coefficients that is dropped in training."""

    def check_dim(self, dim: int) -> None:
        """Refuse a width that the heads do not divide."""
        if dim % self.num_heads:
            raise ValueError(f"encoder.num_heads ({self.num_heads}) must divide dim ({dim})")

    def convolution(
        self, dim: int, layer: int, node_types: Collection[str], edge_types: Collection[EdgeType]
    ) -> "GatConvolution":
        """Make one layer."""
        edge_type = only(self.type, node_types, edge_types)
        return GatConvolution(dim, self.num_heads, self.attention_dropout, edge_type)


class GatConvolution(nn.Module):
    """One GATv2 layer; tasks side by side run as disjoint copies of the graph."""

    def __init__(self, dim: int, num_heads: int, dropout: float, edge_type: EdgeType) -> None:
        super().__init__()
        from torch_geometric.nn import GATv2Conv  # 3 s that reading a configuration does not need

        self.edge_type = edge_type
        self.attention = GATv2Conv(
            dim, dim // num_heads, heads=num_heads, dropout=dropout, add_self_loops=False
        )

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations."""
        kind, edges = self.edge_type[2], hop.edges[self.edge_type]
        dense, num_destinations = x[kind].dense(), hop.num_destinations[kind]
        copies = dense.unsqueeze(1) if dense.dim() == 2 else dense
        num_sources, num_tasks, dim = copies.shape
        loops = torch.arange(num_destinations, device=dense.device).expand(2, -1)
        both = torch.cat([torch.stack([edges.row, edges.destination]), loops], 1)
        offset = torch.arange(num_tasks, device=dense.device).view(1, -1, 1)
        steps = both.new_tensor([[num_sources], [num_destinations]]).view(2, 1, 1)
        disjoint = (both.unsqueeze(1) + offset * steps).flatten(1)
        sources = copies.transpose(0, 1).reshape(-1, dim)
        destinations = copies[:num_destinations].transpose(0, 1).reshape(-1, dim)
        out: Tensor = self.attention((sources, destinations), disjoint)
        by_task = out.view(num_tasks, num_destinations, dim).transpose(0, 1)
        return {kind: by_task.reshape(num_destinations, *dense.shape[1:])}
