"""encoder: no graph at all, the baseline that every graph network has to beat."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import Linears
from mtl.models.neighborhood import Hop


@dataclass(frozen=True, kw_only=True)
class Mlp(Encoder):
    """h_v = W h_v; no neighbour is sampled, `loader.num_neighbors` is not read."""

    @property
    def num_hops(self) -> int:
        """Return 0: only the seeds themselves are read."""
        return 0

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "MlpConvolution":
        """Make one layer."""
        return MlpConvolution(dim, node_types)


class MlpConvolution(nn.Module):
    """One linear layer of the destinations alone, for each type."""

    def __init__(self, dim: int, node_types: Collection[str]) -> None:
        super().__init__()
        self.node_types = tuple(node_types)
        self.linear = Linears(((kind, dim) for kind in node_types), dim)

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        return {
            kind: x[kind].first(hop.num_destinations[kind]).through(self.linear.of(kind))
            for kind in self.node_types
        }
