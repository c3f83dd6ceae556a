"""sampler: neighbours drawn by compiled passes, one thread a call, as many calls as threads."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Bits, Topology
from mtl.loaders import Temporal
from mtl.loaders.samplers._columns import columns_of
from mtl.loaders.samplers._compile import said_if_slow
from mtl.loaders.samplers._growth import Growth
from mtl.loaders.samplers._inputs import NO_IDS, Ids, read_excluded, read_seeds
from mtl.loaders.samplers._options import NumNeighbors
from mtl.loaders.samplers._output import output_of
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers._scratch import Scratch
from mtl.loaders.samplers._warm_up import tiny
from mtl.loaders.samplers.base import Sampler, Subgraph

MAP_BYTES = 1 << 30


class NumbaSampler(Sampler):
    """Draw neighbours hop by hop, compiled; `Sampler` says what the options mean.

    Callable from many threads at once: the compiled passes release the GIL, and each call has
    memory of its own, kept for later calls.

    Args:
        map_bytes: memory for maps from node to position in the subgraph, 4 bytes a node of the
            graph for each call at a time; beyond, hash tables of the subgraph's size stand in:
            slower, the same result.
    """

    def __init__(
        self,
        topology: Topology,
        num_neighbors: NumNeighbors,
        *,
        seed: int = 0,
        replace: bool = False,
        disjoint: bool = False,
        weighted: bool = False,
        temporal: Temporal | None = None,
        strict_negatives: bool = False,
        hidden: Mapping[EdgeType, Bits] | None = None,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        super().__init__(
            topology,
            num_neighbors,
            seed=seed,
            replace=replace,
            disjoint=disjoint,
            weighted=weighted,
            temporal=temporal,
            strict_negatives=strict_negatives,
            hidden=hidden,
        )
        self._map_bytes = self._free_bytes = map_bytes

    def _prepare(self) -> None:
        self._columns = {
            kind: columns_of(
                self.topology,
                kind,
                self.hidden.get(kind),
                weighted=self.weighted,
                temporal=self.temporal,
            )
            for kind in self.topology.edges
        }
        self._idle: list[Scratch] = []
        self._lock = threading.Lock()

    def sample(
        self,
        seeds: Mapping[str, Ids],
        key: int,
        *,
        exclude: Mapping[EdgeType, Ids] | None = None,
        time: Mapping[str, Ids] | None = None,
    ) -> Subgraph:
        """Return the subgraph around seeds; see `Sampler.sample`."""
        given = read_seeds(self.topology, seeds)
        excluded = read_excluded(self.topology, exclude)
        times = self._times(given, time)
        limits = np.concatenate([NO_IDS, *times.values()])
        rule = (self.replace, self.temporal == "last")
        with self._scratch() as scratch:
            state = begin_state(self.seed, key)
            growth = Growth(scratch, self._columns, rule, state, limits, excluded)
            for name, nodes in given.items():
                growth.start(name, nodes)
            for hop in range(self.num_hops):
                growth.hop({kind: hops[hop] for kind, hops in self.fan_outs.items()})
            heterogeneous = self.topology.is_heterogeneous
            return output_of(scratch, disjoint=self.disjoint, heterogeneous=heterogeneous)

    def warm_up(self, num_threads: int = 1, *, exclude: bool = False) -> None:
        """Compile now what `sample` will call; say so on stderr if that takes its time."""
        types = self.topology.num_nodes
        graph = tiny(self.topology)
        seeds = {name: np.arange(number) for name, number in graph.num_nodes.items()}
        maps = {self._map_bytes}
        if num_threads * sum(types.values()) * 4 > self._map_bytes:
            maps = {4 * len(types), 0}
        with said_if_slow():
            for map_bytes in maps:
                sampler = NumbaSampler(
                    graph,
                    [-1],
                    replace=self.replace,
                    disjoint=self.disjoint,
                    weighted=self.weighted,
                    temporal=self.temporal,
                    hidden={kind: bits[:1] for kind, bits in self.hidden.items()},
                    map_bytes=map_bytes,
                )
                time = {name: nodes for name, nodes in seeds.items() if self.temporal is not None}
                sampler.sample(seeds, 0, time=time or None)
                if exclude:
                    edges = {kind: np.arange(len(csc.row)) for kind, csc in graph.edges.items()}
                    sampler.sample(seeds, 0, time=time or None, exclude=edges)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the memory of calls, for a process that is not forked."""
        return {**self.__dict__, "_idle": [], "_lock": None, "_free_bytes": self._map_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without memory of calls."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @contextmanager
    def _scratch(self) -> Iterator[Scratch]:
        """Lend memory that no other call uses."""
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = self._new_scratch()
        scratch.begin()
        try:
            yield scratch
        finally:
            self._idle.append(scratch)

    def _new_scratch(self) -> Scratch:
        """Make memory for one more call at a time; the largest types get hash tables first."""
        dense = set()
        with self._lock:
            for name, number in sorted(self.topology.num_nodes.items(), key=lambda item: item[1]):
                if not self.disjoint and 4 * number <= self._free_bytes:
                    self._free_bytes -= 4 * number
                    dense.add(name)
        return Scratch(self.topology, dense, disjoint=self.disjoint)
