"""sampler: the memory that one call needs, kept for the next."""

import numpy as np
from jaxtyping import Shaped

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology

LIMIT = 2**31 - 1


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
    """Memory for the nodes of one type: those of the subgraph, and where each node stands there.

    `local[node] - base` is its position; a later call has a larger base, so that what this one
    leaves behind need not be cleared.
    """

    def __init__(self, num_nodes: int) -> None:
        self.nodes, self.local, self.base = Buffer(np.int64), np.zeros(num_nodes, np.int32), 1
        self.hops: list[int] = []

    @property
    def count(self) -> int:
        """Nodes of the subgraph so far."""
        return sum(self.hops)

    def begin(self) -> None:
        """Forget the last subgraph."""
        self.base += self.count
        self.hops = []
        if self.base + len(self.local) > LIMIT:
            self.local.fill(0)
            self.base = 1


class EdgeScratch:
    """Memory for the edges of one type."""

    def __init__(self) -> None:
        self.edge, self.position, self.ptr = Buffer(np.int64), Buffer(np.int64), Buffer(np.int64)
        self.start, self.size = Buffer(np.int64), Buffer(np.int64)
        self.hops: list[int] = []

    def begin(self) -> None:
        """Forget the last subgraph."""
        self.hops = []
        self.ptr.reserve(1)[0] = 0


class Scratch:
    """Memory for one call at a time."""

    def __init__(self, topology: Topology) -> None:
        self.nodes = {name: NodeScratch(number) for name, number in topology.num_nodes.items()}
        self.edges: dict[EdgeType, EdgeScratch] = {kind: EdgeScratch() for kind in topology.edges}

    def begin(self) -> None:
        """Forget the last subgraph."""
        for nodes in self.nodes.values():
            nodes.begin()
        for edges in self.edges.values():
            edges.begin()
