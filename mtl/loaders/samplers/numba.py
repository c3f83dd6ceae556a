"""sampler: neighbours drawn by compiled passes, one thread a call, as many calls as threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, NodeSamplerInput, SamplerOutput

from mtl.graphs.topology import Topology
from mtl.loaders.samplers._kernels import draw_uniform, expand, place_seeds, relabel, spans
from mtl.loaders.samplers._random import fold, start
from mtl.loaders.samplers._scratch import Scratch
from mtl.loaders.samplers.base import NumNeighbors, Sampler, Seeds, Subgraph


class NumbaSampler(Sampler):
    """Draw neighbours hop by hop, compiled.

    Callable from many threads at once: the compiled passes release the GIL, and each call has
    memory of its own (4 bytes a node of the graph, and the subgraph), kept for later calls.
    """

    def __init__(self, topology: Topology, num_neighbors: NumNeighbors, *, seed: int = 0) -> None:
        super().__init__(topology, num_neighbors, seed=seed)
        self._idle: list[Scratch] = []

    def sample(self, seeds: Seeds, key: int) -> Subgraph:
        """Return the subgraph around seeds, in PyG's contract.

        Nodes stand in the order in which they were found, seeds first; edges are sorted by
        destination, so that each hop's edges and each layer's destinations are a prefix. One
        attribute more than PyG's: `colptr`, where the edges of each node that was expanded start.
        """
        state = np.array([self.seed, key], np.uint64)
        start(state)
        with self._scratch() as scratch:
            for name, nodes in self._seeds(seeds).items():
                its = scratch.nodes[name]
                bad = place_seeds(nodes, its.local, its.base, its.nodes.reserve(len(nodes)))
                if bad >= 0:
                    self._refuse(name, nodes, bad)
                its.hops.append(len(nodes))
            for hop in range(self.num_hops):
                self._expand(scratch, hop, state)
            return self._output(scratch)

    def sample_from_nodes(self, index: NodeSamplerInput) -> Subgraph:
        """Serve a plain `NeighborLoader(..., neighbor_sampler=...)`; the seeds make the key."""
        name = index.input_type or next(iter(self.topology.num_nodes))
        seeds = index.node.numpy()
        output = self.sample({name: seeds}, key=int(fold(seeds)))
        output.metadata = (index.input_id, index.time)
        return output

    def _expand(self, scratch: Scratch, hop: int, state: Int[np.ndarray, " two"]) -> None:
        """Draw the neighbours of the nodes that the hop before found."""
        frontier = {
            name: (its.count - its.hops[-1], its.count) for name, its in scratch.nodes.items()
        }
        counts = {name: its.count for name, its in scratch.nodes.items()}
        for kind, csc in self.topology.edges.items():
            source, target = scratch.nodes[kind[0]], scratch.nodes[kind[2]]
            (first, last), its = frontier[kind[2]], scratch.edges[kind]
            k, before = self.fan_outs[kind][hop], sum(its.hops)
            begin, size = its.start.reserve(last - first), its.size.reserve(last - first)
            ptr = its.ptr.reserve(last + 1, first + 1)
            after = spans(csc.colptr, target.nodes.array, first, last, k, begin, size, ptr)
            edge = its.edge.reserve(after, before)
            draw_uniform(begin, size, first, last, k, state, edge, before)
            found = counts[kind[0]]
            array = source.nodes.reserve(found + after - before, found)
            position = its.position.reserve(after, before)
            counts[kind[0]] = relabel(
                csc.row, edge, before, after, source.local, source.base, array, found, position
            )
            its.hops.append(after - before)
        for name, nodes in scratch.nodes.items():
            nodes.hops.append(counts[name] - nodes.count)

    def _output(self, scratch: Scratch) -> Subgraph:
        node = {name: _copy(its.nodes.array, its.count) for name, its in scratch.nodes.items()}
        row, col, edge, colptr = {}, {}, {}, {}
        for kind, its in scratch.edges.items():
            total, target = sum(its.hops), scratch.nodes[kind[2]]
            row[kind], edge[kind] = _copy(its.position.array, total), _copy(its.edge.array, total)
            expanded = target.count - target.hops[-1] if self.num_hops else 0
            colptr[kind] = _copy(its.ptr.array, expanded + 1)
            col[kind] = torch.empty(total, dtype=torch.int64)
            expand(its.ptr.array, expanded, col[kind].numpy())
        num_nodes = {name: its.hops for name, its in scratch.nodes.items()}
        num_edges = {kind: its.hops for kind, its in scratch.edges.items()}
        parts = (node, row, col, edge, None, num_nodes, num_edges)
        if self.topology.is_heterogeneous:
            output = HeteroSamplerOutput(*parts)
            output.colptr = colptr
        else:
            output = SamplerOutput(*(part and next(iter(part.values())) for part in parts))
            output.colptr = next(iter(colptr.values()))
        return output

    @contextmanager
    def _scratch(self) -> Iterator[Scratch]:
        """Lend memory that no other call uses; after an error it is not used again."""
        scratch = self._idle.pop() if self._idle else Scratch(self.topology)
        scratch.begin()
        yield scratch
        self._idle.append(scratch)

    def _refuse(self, name: str, seeds: np.ndarray, bad: int) -> None:
        number = self.topology.num_nodes[name]
        if 0 <= seeds[bad] < number:
            raise ValueError(f"seeds: {name} {seeds[bad]} is there twice")
        raise ValueError(f"seeds: {name} {seeds[bad]} is not one of {number}, 0 to {number - 1}")


def _copy(array: np.ndarray, count: int) -> Tensor:
    return torch.from_numpy(array[:count].copy())
