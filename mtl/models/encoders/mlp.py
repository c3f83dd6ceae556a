"""encoder: no graph at all, the baseline that every graph network has to beat."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mtl.models.encoders import Encoder
from mtl.models.trunk import Hop


@dataclass(frozen=True, kw_only=True)
class Mlp(Encoder):
    """h_v = W h_v; no neighbour is sampled, `loader.num_neighbors` is not read."""

    @property
    def num_hops(self) -> int:
        """Return 0: only the seeds themselves are read."""
        return 0

    def convolution(self, dim: int, layer: int) -> "MlpConvolution":
        """Make one layer."""
        return MlpConvolution(dim)


class MlpConvolution(nn.Module):
    """One linear layer of the destinations alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "sources *tasks dim"], hop: Hop
    ) -> Float[Tensor, "destinations *tasks dim"]:
        """Return new embeddings of the destinations."""
        out: Tensor = self.linear(x[: hop.num_destinations])
        return out
