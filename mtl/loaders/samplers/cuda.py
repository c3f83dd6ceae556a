"""sampler: neighbours drawn by tensor operations, on a GPU that holds the topology, or a CPU."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from mtl.collective import Exchange
from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.loaders.samplers._inputs import Ids, read_excluded, read_seeds
from mtl.loaders.samplers._numbers import Numbers
from mtl.loaders.samplers._output import pack
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers._removed import Removed
from mtl.loaders.samplers._resident import Resident, resident
from mtl.loaders.samplers._tensors import Drawing, Placing, draws_in_one, nowhere, read
from mtl.loaders.samplers.base import Sampler, Subgraph
from mtl.loaders.transfer import moved


class CudaSampler(Sampler):
    """Draw neighbours hop by hop with the operations of PyTorch; `Sampler` says what options mean.

    The topology lies on the device, once for all samplers of it, and beside it for each node a
    number. What is drawn follows from seed and key, on every device alike. A call waits for the
    device twice a hop, whatever the number of types: for how many edges and how many nodes.

    Where there is a GPU it begins there; `to` moves it. Processes may share the edges out: what is
    drawn stays the same, but all call together, as often, and wait for each other twice a hop for
    each type.

    Raises:
        ConfigError: weights, times or trees are asked for, which this sampler does not know.
    """

    max_threads: int | None = 1

    def _prepare(self) -> None:
        if self.disjoint or self.weighted:
            raise ConfigError(
                "backend: cuda draws each neighbour as likely and makes no trees; take numba for "
                "disjoint, weighted and temporal sampling"
            )
        self.to("cuda" if torch.cuda.is_available() else "cpu")

    def to(self, device: torch.device | str, exchange: Exchange | None = None) -> Self:
        """Draw on a device from now on; the topology goes there before the first call does.

        Args:
            device: where.
            exchange: to the processes that each hold a share of the edges; default: each holds all.
        """
        self.device, self.exchange = torch.device(device), exchange
        self.max_threads = 1 if exchange is None else 0  # in turn with all else that they exchange
        for made in ("_graph", "_hidden"):
            self.__dict__.pop(made, None)
        return self

    def warm_up(self, num_threads: int = 1, *, exclude: bool = False) -> None:
        """Move the topology now, and compile; see `Sampler.warm_up`."""
        assert self._graph
        assert self._hidden is not None
        device = torch.empty(0, device=self.device).device  # with its number
        for k in {k for hops in self.fan_outs.values() for k in hops}:
            draws_in_one(device, k, replace=self.replace)

    def degrees(self, kind: EdgeType, nodes: Tensor) -> Tensor:
        """Return how many edges lead into nodes; shared out, all ask together."""
        start, end = self._graph.edges[kind].spans(nodes)
        return end - start

    @cached_property
    def _graph(self) -> Resident:
        return resident(self.topology, self.device, self.exchange)

    @cached_property
    def _hidden(self) -> dict[EdgeType, Removed]:
        return {kind: self._graph.removed(kind, bits) for kind, bits in self.hidden.items()}

    def sample(
        self,
        seeds: Mapping[str, Ids],
        key: int,
        *,
        exclude: Mapping[EdgeType, Ids] | None = None,
        time: Mapping[str, Ids] | None = None,
    ) -> Subgraph:
        """Return the subgraph around seeds, on the device; see `Sampler.sample`."""
        given = read_seeds(self.topology, seeds)
        excluded = read_excluded(self.topology, exclude)
        self._times(given, time)
        removed = {
            kind: Removed.both(
                self._hidden.get(kind), self.hidden.get(kind), excluded.get(kind), self.device
            )
            for kind in self.topology.edges
        }
        with self._graph.turn():
            try:
                growth = _Growth(self, given, removed, key)
                for hop in range(self.num_hops):
                    growth.hop({kind: hops[hop] for kind, hops in self.fan_outs.items()})
                output = growth.output()
                growth.leave()
            except BaseException:  # no memory, say
                self._graph.forget()
                raise
            return output


class _Growth:
    """One call: a subgraph that grows hop by hop."""

    def __init__(
        self,
        sampler: CudaSampler,
        seeds: Mapping[str, Ids],
        removed: Mapping[EdgeType, list[Removed]],
        key: int,
    ) -> None:
        self._sampler, self._removed = sampler, removed
        self._edges_of, self._places = sampler._graph.edges, sampler._graph.places
        self._numbers = Numbers(begin_state(sampler.seed, key), sampler.device)
        self._nodes = {
            name: [moved(torch.from_numpy(its), sampler.device)] for name, its in seeds.items()
        }
        self._count = {name: len(its) for name, its in seeds.items()}
        self._drawn: dict[EdgeType, list[tuple[Tensor, Tensor, Tensor]]]
        self._drawn = {kind: [] for kind in self._edges_of}
        for name, (its,) in self._nodes.items():
            place = torch.arange(len(its), device=its.device, dtype=self._places[name].dtype)
            self._places[name].scatter_reduce_(0, its, place, "amin", include_self=False)

    def hop(self, num_neighbors: Mapping[EdgeType, int]) -> None:
        """Draw neighbours of the nodes that the hop before found."""
        edges = self._draw(num_neighbors)
        kinds: dict[str, list[EdgeType]] = {name: [] for name in self._nodes}
        sources = {kind: self._edges_of[kind].sources(drawn) for kind, (_, drawn) in edges.items()}
        for kind, found in sources.items():
            if len(found):
                kinds[kind[0]].append(kind)
        placings = {
            name: Placing(self._places[name], torch.cat([sources[kind] for kind in its]))
            for name, its in kinds.items()
            if its
        }
        fresh = dict(zip(placings, read(p.sizes for p in placings.values()), strict=True))
        positions = {kind: edges[kind][1][:0] for kind in edges}
        for name, its in kinds.items():
            found = self._nodes[name][0][:0]
            if its:
                placed, found = placings[name].settle(self._count[name], *fresh[name])
                parts = torch.split(placed, [len(edges[kind][1]) for kind in its])
                positions |= dict(zip(its, parts, strict=True))
                self._count[name] += len(found)
            self._nodes[name].append(found)
        for kind, (counts, drawn) in edges.items():
            self._drawn[kind].append((counts, drawn, positions[kind]))

    def _draw(self, num_neighbors: Mapping[EdgeType, int]) -> dict[EdgeType, tuple[Tensor, Tensor]]:
        """Return of each type how many edges each node gets, and which."""
        drawings = {
            kind: Drawing(
                *self._edges_of[kind].spans(self._nodes[kind[2]][-1]),
                k,
                self._removed[kind],
                replace=self._sampler.replace,
            )
            for kind, k in num_neighbors.items()
        }
        sizes = read(drawing.sizes for drawing in drawings.values())
        return {
            kind: (drawing.counts, drawing.edges(self._numbers, *size))
            for (kind, drawing), size in zip(drawings.items(), sizes, strict=True)
        }

    def output(self) -> Subgraph:
        """Return it in PyG's contract."""
        parts: dict[str, dict[Any, Any]] = {
            "node": {name: torch.cat(its) for name, its in self._nodes.items()},
            "row": {},
            "col": {},
            "edge": {},
            "num_sampled_nodes": {n: [len(hop) for hop in its] for n, its in self._nodes.items()},
            "num_sampled_edges": {},
        }
        colptr = {}
        nothing = torch.empty(0, dtype=torch.long, device=self._sampler.device)
        for kind, hops in self._drawn.items():
            counts, edge, row = (torch.cat([nothing, *part]) for part in _columns(hops))
            parts["row"][kind], parts["edge"][kind] = row, edge
            parts["col"][kind] = torch.repeat_interleave(counts, output_size=len(edge))
            parts["num_sampled_edges"][kind] = [len(its) for _, its, _ in hops]
            colptr[kind] = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return pack(parts, colptr, heterogeneous=self._sampler.topology.is_heterogeneous)

    def leave(self) -> None:
        """Clear the places for the next call."""
        for name, found in self._nodes.items():
            places = self._places[name]
            places.index_fill_(0, torch.cat(found), nowhere(places.dtype))


def _columns(hops: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
    return list(zip(*hops, strict=True)) if hops else [(), (), ()]
