"""encoder: GraphSAGE with mean aggregation (Hamilton et al., 2017, algorithm 1)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.aggregate import weighted_sum
from mtl.models.encoders import Encoder
from mtl.models.trunk import Hop


@dataclass(frozen=True, kw_only=True)
class Sage(Encoder):
    """h_v = W1 h_v + W2 mean(h_u), over the sampled in-neighbours u."""

    def convolution(self, dim: int, layer: int) -> "SageConvolution":
        """Make one layer."""
        return SageConvolution(dim)


class SageConvolution(nn.Module):
    """One GraphSAGE layer; a node without neighbours has a mean of 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.root = nn.Linear(dim, dim)
        self.neighbors = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "sources *tasks dim"], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        """Return new embeddings of the destinations."""
        colptr, (row, col) = hop.colptr, hop.edge_index
        weight = 1 / colptr.diff().clamp(min=1).to(torch.promote_types(x.dtype, torch.float32))
        mean = weighted_sum(x, weight[col], colptr, row)
        out: Tensor = self.root(x[: hop.num_destinations]) + self.neighbors(mean)
        return out
