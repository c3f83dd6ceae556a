"""encoder: what each layer reads of a sampled batch, of one or of many types of nodes and edges."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mtl.graphs.schema import EdgeType

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of one type that one layer reads, those into the same destination together.

    Either all destinations have an entry in `colptr`, or only those that have edges: with dozens of
    relations most destinations have none of most.
    """

    colptr: Int[Tensor, " listed_and_one"]
    row: Int[Tensor, " edges"]
    listed: Int[Tensor, " listed"] | None
    """Which destinations `colptr` lists; None is all."""
    num_destinations: int
    features: Float[Tensor, "edges features"] | None = None
    """Raw features of the edges, where they have some."""

    @property
    def destination(self) -> Int[Tensor, " edges"]:
        """The destination of each edge."""
        col = torch.repeat_interleave(self.colptr.diff(), output_size=len(self.row))
        return col if self.listed is None else self.listed[col]

    def mean(self, dtype: torch.dtype) -> Float[Tensor, " edges"]:
        """Return the weight of each edge that makes a sum a mean."""
        degree = self.colptr.diff()
        share = degree.clamp(min=1).to(dtype).reciprocal()
        return torch.repeat_interleave(share, degree, output_size=len(self.row))

    def add(
        self, total: Float[Tensor, "destinations ..."], rows: Float[Tensor, "listed ..."]
    ) -> Float[Tensor, "destinations ..."]:
        """Return the total with the rows of those destinations added that are listed."""
        assert self.listed is not None
        return total.index_add(0, self.listed, rows.to(total.dtype))


def joined(edges: Sequence[Edges]) -> tuple[Int[Tensor, " listed_and_one"], Int[Tensor, " edges"]]:
    """Return `colptr` and `row` of edges of several types from the same sources."""
    if len(edges) == 1:
        return edges[0].colptr, edges[0].row
    ends = list(accumulate(len(part.row) for part in edges))
    pointers = [p.colptr[:-1] + end - len(p.row) for p, end in zip(edges, ends, strict=True)]
    row = torch.cat([part.row for part in edges])
    return torch.cat([*pointers, row.new_full((1,), len(row))]), row


@dataclass(frozen=True, eq=False)
class Hop:
    """What one layer reads: edges from all nodes so far to the nodes that the next layer needs.

    Destinations are a prefix of the sources of their type.
    """

    num_destinations: Mapping[str, int]
    edges: Mapping[EdgeType, Edges]
    in_degree: Int[Tensor, " sources"] | None = None
    """In-neighbours in the whole graph, where it has one type of nodes and edges; more than the
    edges here where those were sampled."""


def hops(batch: "Data | HeteroData", num_layers: int) -> Iterator[Hop]:
    """Yield what each layer reads: the first all edges, the last those of the seeds alone.

    A batch without edges (the encoder looks at no neighbour) has its seeds as every destination.
    """
    nodes, edges = _stores(batch)
    for depth in range(num_layers, 0, -1):
        counts = {kind: sum(store["num_sampled_nodes"][:depth]) for kind, store in nodes.items()}
        layer = {
            kind: _edges(store, depth, counts[kind[2]])
            for kind, store in edges.items()
            if store["num_sampled_edges"]
        }
        yield Hop(counts, layer, getattr(batch, "in_degree", None))


def node_values(batch: "Data | HeteroData", name: str) -> dict[str, Shaped[Tensor, "nodes ..."]]:
    """Return x, n_id ... of each node type that has it."""
    nodes, _ = _stores(batch)
    return {kind: store[name] for kind, store in nodes.items() if name in store}


def _stores(batch: "Data | HeteroData") -> tuple[dict[str, Any], dict[EdgeType, Any]]:
    """Return the parts of a batch by type; those of a homogeneous one are the batch itself."""
    from torch_geometric.data import HeteroData  # reading a configuration does not need its 3 s

    if isinstance(batch, HeteroData):
        return dict(batch.node_items()), dict(batch.edge_items())
    source, relation, destination = batch.edge_type  # a list, once moved to a device
    return {batch.node_type: batch}, {(source, relation, destination): batch}


def _edges(store: Any, depth: int, num_destinations: int) -> Edges:
    num_listed = store["num_listed"][depth]
    listed = None if num_listed == num_destinations else store["listed"][:num_listed]
    num_edges = sum(store["num_sampled_edges"][:depth])
    row, attr = store["edge_index"][0, :num_edges], store.get("edge_attr")
    features = None if attr is None else attr[:num_edges]
    return Edges(store["colptr"][: num_listed + 1], row, listed, num_destinations, features)
