"""encoder: graph convolutional network (Kipf and Welling, 2017, equation 2)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from mtl.graphs.schema import EdgeType
from mtl.models.embeddings import Embeddings
from mtl.models.encoders import Encoder
from mtl.models.modules import only
from mtl.models.neighborhood import Hop


@dataclass(frozen=True, kw_only=True)
class Gcn(Encoder):
    """h_v = W sum_u h_u / sqrt((d_u + 1) (d_v + 1)), over v itself and its in-neighbours u.

    Degrees are those of the whole graph, so sampling all neighbours is exact; where only s of d_v
    neighbours were drawn their sum is scaled by d_v / s, which keeps it unbiased. (PyG normalises
    inside the sampled subgraph: 42 % off the full graph.)
    """

    needs_uniform: ClassVar[bool] = True

    def convolution(
        self,
        dim: int,
        layer: int,
        node_types: Collection[str],
        edge_types: Mapping[EdgeType, int],
    ) -> "GcnConvolution":
        """Make one layer; the weight of the first one is the input projection before it.

        A second matrix there would change nothing but the optimisation, for the worse: on Cora it
        costs one to two points of accuracy.
        """
        return GcnConvolution(dim, layer, only(self.type, node_types, edge_types))


class GcnConvolution(nn.Module):
    """One GCN layer with self-loops and symmetric normalisation."""

    def __init__(self, dim: int, layer: int, edge_type: EdgeType) -> None:
        super().__init__()
        self.edge_type = edge_type
        self.weight = nn.Linear(dim, dim) if layer else None

    def forward(
        self, x: Mapping[str, Embeddings], hop: Hop
    ) -> dict[str, Float[Tensor, "destinations *tasks dim"]]:
        """Return new embeddings of the destinations."""
        kind, edges = self.edge_type[2], hop.edges[self.edge_type]
        degree, num_destinations = hop.in_degree, hop.num_destinations[kind]
        assert degree is not None, "the loader gives degrees where there is one type"
        row, col = edges.row, edges.destination
        exact = x[kind].exact
        norm = (degree + 1).to(exact).rsqrt()
        weight = norm[row] * norm[col] * degree[col].to(exact) * edges.mean(exact)
        itself = x[kind].first(num_destinations).scaled(norm[:num_destinations, None].square())
        total = itself.plus(x[kind].summed(weight, edges))
        return {kind: total.dense() if self.weight is None else total.through(self.weight)}
