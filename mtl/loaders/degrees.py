"""stream: how many neighbours nodes have, not counting edges that nobody may see."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mtl.graphs.topology import Bits, Csc
from mtl.loaders.samplers._tensors import rows_of
from mtl.loaders.transfer import moved


class VisibleDegrees:
    """In-degrees of a graph with one type of edges.

    Args:
        csc: its edges.
        hidden: those that never carry a message.
        degrees: returns how many edges lead into nodes, hidden ones too.
        device: where degrees are wanted.
    """

    def __init__(
        self,
        csc: Csc,
        hidden: Bits | None,
        degrees: Callable[[Int[Tensor, " nodes"]], Int[Tensor, " nodes"]],
        device: torch.device,
    ) -> None:
        self._csc, self._hidden, self._degrees, self._lost = csc, hidden, degrees, None
        if hidden is not None:
            never = np.flatnonzero(np.unpackbits(hidden, count=len(csc.row), bitorder="little"))
            num_nodes = len(csc.colptr) - 1
            lost = np.bincount(csc.destination(never), minlength=num_nodes)
            self._lost = torch.from_numpy(lost.astype(np.int32)).to(device)

    def of(
        self, nodes: Int[Tensor, " nodes"], hidden: Int[np.ndarray, " edges"]
    ) -> Int[Tensor, " nodes"]:
        """Return the degrees of nodes where some more edges are hidden; some may stand twice."""
        degree = self._degrees(nodes)
        if self._lost is not None:
            degree -= rows_of(self._lost, nodes)
        return degree - self._times(nodes, hidden) if len(hidden) else degree

    def _times(
        self, nodes: Int[Tensor, " nodes"], hidden: Int[np.ndarray, " edges"]
    ) -> Int[Tensor, " nodes"]:
        """Count how many of those edges lead into each node, besides those always hidden."""
        edges = np.unique(hidden)
        if self._hidden is not None:
            edges = edges[(self._hidden[edges >> 3] >> (edges & 7)) & 1 == 0]
        if not len(edges):
            return torch.zeros_like(nodes)
        counted = np.unique(self._csc.destination(edges), return_counts=True)
        into, times = (moved(torch.from_numpy(part), nodes.device) for part in counted)
        at = torch.searchsorted(into, nodes).clamp_(max=len(into) - 1)
        return torch.where(rows_of(into, at) == nodes, rows_of(times, at), 0)
