"""sampler: the edges of a graph on a device, once for all samplers that draw from them there."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch

from mtl.collective import Exchange
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Bits, Csc, Topology
from mtl.loaders.samplers._removed import Removed
from mtl.loaders.samplers._tensors import Ids, nowhere, rows_of
from mtl.loaders.shares import Shares

_residents: WeakKeyDictionary[Topology, dict[Hashable, "Resident"]] = WeakKeyDictionary()


class Edges:
    """The edges of a type on a device.

    Args:
        colptr: where those into each node begin.
        row: where they come from, in int32 where the node count allows.
        device: where both go; on the CPU the arrays stay what they are.
    """

    def __init__(self, colptr: np.ndarray, row: np.ndarray, device: torch.device) -> None:
        self._colptr, self._row = (torch.from_numpy(part).to(device) for part in (colptr, row))

    @property
    def num_bytes(self) -> int:
        """What they take on the device."""
        return self._colptr.nbytes + self._row.nbytes

    def spans(self, nodes: Ids) -> tuple[Ids, Ids]:
        """Return where the edges into each node begin, and where they end."""
        return rows_of(self._colptr, nodes), rows_of(self._colptr[1:], nodes)

    def sources(self, edges: Ids) -> Ids:
        """Return where edges come from."""
        return rows_of(self._row, edges).long()


class SharedEdges(Edges):
    """Edges of which each process has a share on its device: all ask and answer at the same time.

    Shares are equal in nodes, and in edges, so no process has more of them than another, whatever
    the degrees.

    Args:
        csc: the edges.
        device: where this process's share goes.
        exchange: to the other processes.
    """

    def __init__(self, csc: Csc, device: torch.device, exchange: Exchange) -> None:
        self._nodes = Shares(len(csc.colptr) - 1, exchange)
        self._edges = Shares(len(csc.row), exchange)
        mine = self._nodes.mine
        super().__init__(csc.colptr[mine.start : mine.stop + 1], csc.row[self._edges.mine], device)

    def spans(self, nodes: Ids) -> tuple[Ids, Ids]:
        """Ask for them; see `Edges.spans`."""
        own = super().spans
        found = self._nodes.fetch(nodes, lambda rows: torch.stack(own(rows), 1))
        start, end = found.T.contiguous()
        return start, end

    def sources(self, edges: Ids) -> Ids:
        """Ask for them; see `Edges.sources`."""
        return self._edges.fetch(edges, super().sources)


class Resident:
    """A graph on a device: its edges, and a place for each node, which calls use in turn.

    Args:
        topology: the graph.
        device: where it goes.
        exchange: to the processes that each have a share of the edges there; default: each has all.
    """

    def __init__(
        self, topology: Topology, device: torch.device, exchange: Exchange | None = None
    ) -> None:
        self._lock, self._device = Lock(), device
        self._done: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with self.turn():
            self.edges = {
                kind: Edges(csc.colptr, csc.row, device)
                if exchange is None
                else SharedEdges(csc, device, exchange)
                for kind, csc in topology.edges.items()
            }
            self.places = {
                name: torch.full((number,), nowhere(dtype), dtype=dtype, device=device)
                for name, number in topology.num_nodes.items()
                for dtype in [torch.int32 if number < 2**31 else torch.int64]
            }
            """Where each node stands in the subgraph of a call; nowhere between calls."""
        self._num_edges = {kind: len(csc.row) for kind, csc in topology.edges.items()}
        self._removed: dict[EdgeType, list[tuple[Bits, Removed]]] = {}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Call after call: on the host, and on the device in whatever streams the calls run."""
        with self._lock:
            if self._done is not None:
                self._done.wait(torch.cuda.current_stream(self._device))
            try:
                yield
            finally:
                if self._done is not None:
                    self._done.record(torch.cuda.current_stream(self._device))

    def forget(self) -> None:
        """Clear all places after a call that has failed: it may have marked nodes anywhere."""
        for places in self.places.values():
            places.fill_(nowhere(places.dtype))

    def removed(self, kind: EdgeType, bits: Bits) -> Removed:
        """Return the edges of a type that samplers hide, once for all that hide the same."""
        known = self._removed.setdefault(kind, [])
        for others, its in known:
            if np.array_equal(others, bits):
                return its
        with self.turn():
            known.append((bits, Removed.of_bits(bits, self._num_edges[kind], self._device)))
        return known[-1][1]


def resident(
    topology: Topology, device: torch.device, exchange: Exchange | None = None
) -> Resident:
    """Return a graph on a device; it goes there once, and leaves with the topology."""
    device = torch.empty(0, device=device).device  # with its number
    places = _residents.setdefault(topology, {})
    if (device, exchange) not in places:
        places[device, exchange] = Resident(topology, device, exchange)
    return places[device, exchange]
