"""sampler: neighbours drawn by tensor operations, on a GPU that holds the topology, or a CPU."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Csc
from mtl.loaders.samplers._inputs import Ids, read_excluded, read_seeds
from mtl.loaders.samplers._output import pack
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers._removed import Removed
from mtl.loaders.samplers._tensors import draw, place
from mtl.loaders.samplers.base import Sampler, Subgraph


class CudaSampler(Sampler):
    """Draw neighbours hop by hop with the operations of PyTorch; `Sampler` says what options mean.

    The topology lies on the device, int32 where the node count allows, and beside it for each node
    a number of the same type. What is drawn follows from seed and key, and from the kind of device.

    Where there is a GPU it begins there; `to` moves it.

    Raises:
        ConfigError: weights, times or trees are asked for, which this sampler does not know.
    """

    threads_allowed: ClassVar[bool] = False

    def _prepare(self) -> None:
        if self.disjoint or self.weighted:
            raise ConfigError(
                "backend: cuda draws each neighbour as likely and makes no trees; take numba for "
                "disjoint, weighted and temporal sampling"
            )
        self.to("cuda" if torch.cuda.is_available() else "cpu")

    def to(self, device: torch.device | str) -> Self:
        """Move the topology to a device; draw there from now on."""
        self.device = torch.device(device)
        self._edges = {kind: self._on_device(csc) for kind, csc in self.topology.edges.items()}
        self._hidden = {
            kind: Removed.of_bits(bits, len(self.topology.edges[kind].row), self.device)
            for kind, bits in self.hidden.items()
        }
        self._places = {
            name: torch.full((number,), -1, dtype=_kind(number), device=self.device)
            for name, number in self.topology.num_nodes.items()
        }
        return self

    def _on_device(self, csc: Csc) -> tuple[Tensor, Tensor]:
        colptr, row = (torch.from_numpy(part).to(self.device) for part in (csc.colptr, csc.row))
        return colptr, row

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
        generator = torch.Generator(self.device)
        generator.manual_seed(int(begin_state(self.seed, key)[0] >> 1))
        growth = _Growth(self, given, excluded, generator)
        try:
            for hop in range(self.num_hops):
                growth.hop({kind: hops[hop] for kind, hops in self.fan_outs.items()})
            return growth.output()
        finally:
            for name, found in growth.nodes.items():
                self._places[name][torch.cat(found).long()] = -1


class _Growth:
    """One call: a subgraph that grows hop by hop."""

    def __init__(
        self,
        sampler: CudaSampler,
        seeds: Mapping[str, Ids],
        excluded: Mapping[EdgeType, Ids],
        generator: torch.Generator,
    ) -> None:
        self._sampler, self._generator = sampler, generator
        self._removed = {
            kind: Removed.both(sampler._hidden.get(kind), excluded.get(kind), sampler.device)
            for kind in sampler.topology.edges
        }
        self.nodes = {
            name: [torch.from_numpy(its).to(sampler.device)] for name, its in seeds.items()
        }
        """Nodes of each type, by the hop that found them; seeds first."""
        self._count = {name: len(its) for name, its in seeds.items()}
        self._edges: dict[EdgeType, list[tuple[Tensor, Tensor, Tensor]]]
        self._edges = {kind: [] for kind in sampler.topology.edges}
        for name, (its,) in self.nodes.items():
            place = torch.arange(len(its), device=its.device, dtype=sampler._places[name].dtype)
            sampler._places[name].scatter_reduce_(0, its, place, "amin", include_self=False)

    def hop(self, num_neighbors: Mapping[EdgeType, int]) -> None:
        """Draw neighbours of the nodes that the hop before found."""
        frontier = {name: its[-1] for name, its in self.nodes.items()}
        found: dict[str, list[Tensor]] = {name: [] for name in self.nodes}
        for kind, k in num_neighbors.items():
            colptr, row = self._sampler._edges[kind]
            nodes = frontier[kind[2]].long()
            counts, edges = draw(
                colptr,
                nodes,
                k,
                self._removed[kind],
                self._generator,
                replace=self._sampler.replace,
            )
            sources = row[edges].long()
            positions, fresh = place(self._sampler._places[kind[0]], sources, self._count[kind[0]])
            self._count[kind[0]] += len(fresh)
            found[kind[0]].append(fresh)
            self._edges[kind].append((counts, edges, positions))
        for name, its in self.nodes.items():
            nothing = its[0][:0]
            its.append(torch.cat([nothing, *found[name]]))

    def output(self) -> Subgraph:
        """Return it in PyG's contract."""
        parts: dict[str, dict[Any, Any]] = {
            "node": {name: torch.cat(its) for name, its in self.nodes.items()},
            "row": {},
            "col": {},
            "edge": {},
            "num_sampled_nodes": {n: [len(hop) for hop in its] for n, its in self.nodes.items()},
            "num_sampled_edges": {},
        }
        colptr = {}
        nothing = torch.empty(0, dtype=torch.long, device=self._sampler.device)
        for kind, hops in self._edges.items():
            counts, edge, row = (torch.cat([nothing, *part]) for part in _columns(hops))
            parts["row"][kind], parts["edge"][kind] = row, edge
            numbers = torch.arange(len(counts), device=counts.device)
            parts["col"][kind] = torch.repeat_interleave(numbers, counts, output_size=len(edge))
            parts["num_sampled_edges"][kind] = [len(its) for _, its, _ in hops]
            colptr[kind] = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return pack(parts, colptr, heterogeneous=self._sampler.topology.is_heterogeneous)


def _columns(hops: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
    return list(zip(*hops, strict=True)) if hops else [(), (), ()]


def _kind(number: int) -> torch.dtype:
    return torch.int32 if number < 2**31 else torch.int64
