"""Topology: which node is whose neighbour, in compressed sparse columns; what a sampler needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mtl.graphs.schema import EdgeType

Bits = UInt8[np.ndarray, " eighths_of_edges"]
"""A bit for each edge, the lowest of a byte first."""


def bits_of(num_edges: int, edges: Int[np.ndarray, " some"]) -> Bits:
    """Return bits that are 1 for these edges."""
    mask = np.zeros(num_edges, bool)
    mask[edges] = True
    return np.packbits(mask, bitorder="little")


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

    def destination(self, edges: Int[np.ndarray, " some"]) -> Int[np.ndarray, " some"]:
        """Return the destination of each edge."""
        return np.asarray(np.searchsorted(self.colptr, edges, side="right") - 1)

    def find(
        self, src: Int[np.ndarray, " pairs"], dst: Int[np.ndarray, " pairs"]
    ) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
        """Return where the edges of each pair begin and end, where sources are sorted.

        They are equal where there is none.
        """
        first = self.colptr[dst].astype(np.int64)
        last = self.colptr[dst + 1].astype(np.int64)
        return self._below(src, first, last), self._below(src + 1, first, last)

    def _below(
        self,
        src: Int[np.ndarray, " pairs"],
        low: Int[np.ndarray, " pairs"],
        high: Int[np.ndarray, " pairs"],
    ) -> Int[np.ndarray, " pairs"]:
        """Return the first edge from `low` on whose source is not below src, at most `high`."""
        while (low < high).any():
            middle = (low + high) // 2
            less = (low < high) & (self.row[np.minimum(middle, len(self.row) - 1)] < src)
            low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
        return low


@dataclass(frozen=True, eq=False)
class Topology:
    """All edges of a graph by type, and when its nodes came to be."""

    num_nodes: Mapping[str, int]
    edges: Mapping[EdgeType, Csc]
    time: Mapping[str, Int[np.ndarray, " nodes"]] = field(default_factory=dict)
    permutation: Mapping[EdgeType, Int[Tensor, " edges"]] | None = None
    """Which edge of a user's own graph each is, where they stand in another order there."""

    @property
    def is_heterogeneous(self) -> bool:
        """Whether there are several types of nodes or of edges, or no edges at all."""
        return len(self.num_nodes) > 1 or len(self.edges) != 1
