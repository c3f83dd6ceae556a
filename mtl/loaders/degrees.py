"""stream: how many neighbours nodes have, not counting edges that nobody may see."""

import numpy as np
from jaxtyping import Int

from mtl.graphs.topology import Bits, Csc


class VisibleDegrees:
    """In-degrees of a graph with one type of edges.

    Args:
        csc: its edges.
        hidden: those that never carry a message.
    """

    def __init__(self, csc: Csc, hidden: Bits | None) -> None:
        self._csc, self._hidden, self._lost = csc, hidden, None
        if hidden is not None:
            never = np.flatnonzero(np.unpackbits(hidden, count=len(csc.row), bitorder="little"))
            num_nodes = len(csc.colptr) - 1
            self._lost = np.bincount(csc.destination(never), minlength=num_nodes)

    def of(
        self, nodes: Int[np.ndarray, " nodes"], hidden: Int[np.ndarray, " edges"]
    ) -> Int[np.ndarray, " nodes"]:
        """Return the degrees of nodes where some more edges are hidden; some may stand twice."""
        degree: np.ndarray = self._csc.colptr[nodes + 1] - self._csc.colptr[nodes]
        if self._lost is not None:
            degree -= self._lost[nodes]
        return degree - self._times(nodes, hidden) if len(hidden) else degree

    def _times(
        self, nodes: Int[np.ndarray, " nodes"], hidden: Int[np.ndarray, " edges"]
    ) -> Int[np.ndarray, " nodes"]:
        """Count how many of those edges lead into each node, besides those always hidden."""
        edges = np.unique(hidden)
        if self._hidden is not None:
            edges = edges[(self._hidden[edges >> 3] >> (edges & 7)) & 1 == 0]
        into, times = np.unique(self._csc.destination(edges), return_counts=True)
        at = np.minimum(np.searchsorted(into, nodes), max(len(into) - 1, 0))
        return np.where(into[at] == nodes, times[at], 0) if len(into) else np.zeros_like(nodes)
