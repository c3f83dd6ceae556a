"""encoder: graph attention with dynamic scores (GATv2: Brody et al., 2022, equation 7)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mtl.models.encoders import Encoder
from mtl.models.trunk import Hop
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

    def convolution(self, dim: int, layer: int) -> "GatConvolution":
        """Make one layer."""
        return GatConvolution(dim, self.num_heads, self.attention_dropout)


class GatConvolution(nn.Module):
    """One GATv2 layer; tasks side by side run as disjoint copies of the graph."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        from torch_geometric.nn import GATv2Conv  # 3 s that reading a configuration does not need

        self.attention = GATv2Conv(
            dim, dim // num_heads, heads=num_heads, dropout=dropout, add_self_loops=False
        )

    def forward(
        self, x: Float[Tensor, "sources *tasks dim"], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        """Return new embeddings of the destinations."""
        copies = x.unsqueeze(1) if x.dim() == 2 else x
        num_sources, num_tasks, dim = copies.shape
        loops = torch.arange(hop.num_destinations, device=x.device).expand(2, -1)
        edges = torch.cat([hop.edge_index, loops], 1)
        offset = torch.arange(num_tasks, device=x.device).view(1, -1, 1)
        steps = edges.new_tensor([[num_sources], [hop.num_destinations]]).view(2, 1, 1)
        disjoint = (edges.unsqueeze(1) + offset * steps).flatten(1)
        sources = copies.transpose(0, 1).reshape(-1, dim)
        destinations = copies[: hop.num_destinations].transpose(0, 1).reshape(-1, dim)
        out: Tensor = self.attention((sources, destinations), disjoint)
        by_task = out.view(num_tasks, hop.num_destinations, dim).transpose(0, 1)
        return by_task.reshape(hop.num_destinations, *x.shape[1:])
