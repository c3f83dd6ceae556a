"""sampler: the edges of a graph on a device, once for all samplers that draw from them there."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Bits, Csc, Topology
from mtl.loaders.samplers._removed import Removed
from mtl.loaders.samplers._tensors import nowhere

_residents: WeakKeyDictionary[Topology, dict[torch.device, "Resident"]] = WeakKeyDictionary()


class Resident:
    """A graph on a device: its edges, and a place for each node, which calls use in turn.

    Args:
        topology: the graph.
        device: where it goes; on the CPU the arrays stay what they are.
    """

    def __init__(self, topology: Topology, device: torch.device) -> None:
        self._lock, self._device = Lock(), device
        self._done: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with self.turn():
            self.edges = {kind: _moved(csc, device) for kind, csc in topology.edges.items()}
            """`colptr`, and `row` in int32 where the node count allows, of each edge type."""
            self.places = {
                name: torch.full((number,), nowhere(dtype), dtype=dtype, device=device)
                for name, number in topology.num_nodes.items()
                for dtype in [torch.int32 if number < 2**31 else torch.int64]
            }
            """Where each node stands in the subgraph of a call; nowhere between calls."""
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
        colptr, row = self.edges[kind]
        with self.turn():
            known.append((bits, Removed.of_bits(bits, len(row), colptr.device)))
        return known[-1][1]


def resident(topology: Topology, device: torch.device) -> Resident:
    """Return a graph on a device; it goes there once, and leaves with the topology."""
    device = torch.empty(0, device=device).device  # with its number
    places = _residents.setdefault(topology, {})
    if device not in places:
        places[device] = Resident(topology, device)
    return places[device]


def _moved(csc: Csc, device: torch.device) -> tuple[Tensor, Tensor]:
    colptr, row = (torch.from_numpy(part).to(device) for part in (csc.colptr, csc.row))
    return colptr, row
