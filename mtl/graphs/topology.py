"""Topology: which node is whose neighbour, in compressed sparse columns; what a sampler needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from mtl.graphs.schema import EdgeType


@dataclass(frozen=True, eq=False)
class Csc:
    """The edges of one type, those into the same destination together.

    Attributes:
        colptr: where the in-edges of each destination start; int64.
        row: source of each edge; int32 where the node count allows.
        weight: how likely an edge is drawn, compared with its neighbours; finite, at least 0.
        time: when the edge came to be.
    """

    colptr: Int[np.ndarray, " destinations_and_one"]
    row: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"] | None = None
    time: Int[np.ndarray, " edges"] | None = None


@dataclass(frozen=True, eq=False)
class Topology:
    """All edges of a graph by type, and when its nodes came to be."""

    num_nodes: Mapping[str, int]
    edges: Mapping[EdgeType, Csc]
    time: Mapping[str, Int[np.ndarray, " nodes"]] = field(default_factory=dict)

    @property
    def is_heterogeneous(self) -> bool:
        """Whether there are several types of nodes or of edges."""
        return len(self.num_nodes) > 1 or len(self.edges) > 1
