"""encoder: GraphSAGE with mean aggregation (Hamilton et al., 2017, algorithm 1)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings, linear_sum
from mtl.models.encoders import Encoder
from mtl.models.encoders._messages import means
from mtl.models.modules import Linears
from mtl.models.neighborhood import Edges, Hop


@dataclass(frozen=True, kw_only=True)
class Sage(Encoder):
    """h_v = W1 h_v + sum_r W_r mean(h_u), over the sampled in-neighbours u of each relation r.

    With several types of nodes and edges, W1 belongs to the type of v.
    """

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "SageConvolution":
        """Make one layer."""
        return SageConvolution(dim, node_types, edge_types)


class SageConvolution(nn.Module):
    """One GraphSAGE layer; a node without neighbours has a mean of 0."""

    def __init__(
        self, dim: int, node_types: Collection[str], edge_types: Collection[EdgeType]
    ) -> None:
        super().__init__()
        self.node_types, self.edge_types = tuple(node_types), tuple(edge_types)
        self.root = Linears(((kind, dim) for kind in node_types), dim)
        self.neighbors = Linears(((kind, dim) for kind in edge_types), dim, bias=False)

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations of each type."""
        terms = {
            kind: [(x[kind].first(hop.num_destinations[kind]), self.root.of(kind))]
            for kind in self.node_types
        }
        some: list[tuple[Edges, str, Tensor]] = []
        for kind, edges, mean in means(x, hop, self.edge_types):
            linear, destination = self.neighbors.of(kind), kind[2]
            if edges.listed is None:
                terms[destination].append((mean, linear))
            else:
                some.append((edges, destination, mean.through(linear)))
        out = {kind: linear_sum(of_kind) for kind, of_kind in terms.items()}
        for edges, destination, heard in some:
            out[destination] = edges.add(out[destination], heard)
        return out
