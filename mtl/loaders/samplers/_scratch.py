"""sampler: the memory that one call needs, kept for later calls."""

import numpy as np
from jaxtyping import Shaped

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.loaders.samplers._places import fill_table

MAX_POSITION = 2**31 - 2**26
"""Room is left for seeds that stand there more than once."""
NONE = np.empty(0, np.int32)


class Buffer:
    """An array that grows when more is asked for, and is used again by the next call."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self.array = np.empty(0, dtype)

    def reserve(self, size: int, used: int = 0) -> Shaped[np.ndarray, " size"]:
        """Return an array of at least this size, the first `used` items as they were."""
        if size > len(self.array):
            larger = np.empty(max(size, len(self.array) * 3 // 2), self.array.dtype)
            larger[:used] = self.array[:used]
            self.array = larger
        return self.array


class NodeScratch:
    """The nodes of one type in the subgraph, in the order in which they were found.

    Args:
        num_nodes: nodes of this type in the graph.
        dense: whether `places` has an item for each of them; else it is a hash table.
        disjoint: whether every seed has a tree of its own.
    """

    def __init__(self, num_nodes: int, *, dense: bool, disjoint: bool) -> None:
        self.num_nodes, self.disjoint = num_nodes, disjoint
        self.places = np.zeros(num_nodes, np.int32) if dense else np.zeros((0, 2), np.int64)
        self.nodes, self.trees, self.base = Buffer(np.int64), Buffer(np.int32), 1
        self.hops: list[int] = []

    @property
    def count(self) -> int:
        """Nodes so far."""
        return sum(self.hops)

    @property
    def tree(self) -> Shaped[np.ndarray, " nodes"]:
        """Which seed each node belongs to; empty where trees are not disjoint."""
        return self.trees.array if self.disjoint else NONE

    @property
    def source(self) -> tuple[int, Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."], int]:
        """What placing nodes reads and writes, beside `places`."""
        return self.base, self.nodes.array, self.tree, self.num_nodes

    def begin(self) -> None:
        """Forget the last call, even one that failed: nothing that it placed is at the new base."""
        self.base += len(self.nodes.array)
        self.hops = []
        if self.places.ndim == 1 and self.base + self.num_nodes > MAX_POSITION:
            self.places.fill(0)
            self.base = 1

    def reserve(self, size: int, count: int) -> None:
        """Make room for so many nodes, `count` of which are there."""
        if self.disjoint:
            self.trees.reserve(size, count)
        else:
            size = min(size, self.num_nodes + (self.hops[0] if self.hops else size))
        self.nodes.reserve(size, count)
        if self.places.ndim == 2 and 2 * size > len(self.places):
            self.places = np.zeros((1 << (2 * size - 1).bit_length(), 2), np.int64)
            fill_table(self.places, self.base, self.nodes.array, self.tree, count, self.num_nodes)


class EdgeScratch:
    """The edges of one type in the subgraph, by destination."""

    def __init__(self) -> None:
        self.edge, self.position, self.ptr = Buffer(np.int64), Buffer(np.int32), Buffer(np.int64)
        self.hops: list[int] = []

    @property
    def count(self) -> int:
        """Edges so far."""
        return sum(self.hops)

    def begin(self) -> None:
        """Forget the last call."""
        self.hops = []
        self.ptr.reserve(1)[0] = 0


class Scratch:
    """Memory for one call at a time."""

    def __init__(self, topology: Topology, dense: set[str], *, disjoint: bool) -> None:
        self.nodes = {
            name: NodeScratch(number, dense=name in dense, disjoint=disjoint)
            for name, number in topology.num_nodes.items()
        }
        self.edges: dict[EdgeType, EdgeScratch] = {kind: EdgeScratch() for kind in topology.edges}

    def begin(self) -> None:
        """Forget the last call."""
        for nodes in self.nodes.values():
            nodes.begin()
        for edges in self.edges.values():
            edges.begin()
