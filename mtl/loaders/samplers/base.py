"""sampler: what all backends promise: one call for the seeds of all types, and PyG's interface."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample

from mtl.collective import Exchange
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Bits, Topology
from mtl.loaders import Temporal
from mtl.loaders.samplers._edges import check_sorted, draw_negatives, number_by_edge
from mtl.loaders.samplers._inputs import Ids, check_type, read_times
from mtl.loaders.samplers._options import NumNeighbors, check_rule, fan_outs
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers._tensors import rows_of

Subgraph: TypeAlias = SamplerOutput | HeteroSamplerOutput


class Sampler(BaseSampler):
    """Draw the neighbours of seeds; what is drawn follows from seeds, key and options alone.

    Args:
        topology: the graph; edge ids are positions in its arrays.
        num_neighbors: neighbours drawn for each node per hop, or those of each edge type; -1 takes
            all.
        seed: makes the draws of this run.
        replace: draw the same neighbour again and again.
        disjoint: every seed gets a tree of its own; `batch` says which.
        weighted: draw edges by their weight where they have one; one of weight 0 never.
        temporal: take no neighbour from after the time of the seed, and of the others `uniform`
            any, `last` the latest (by the time of the edge where it has one). Makes disjoint.
        strict_negatives: negatives that `sample_from_edges` draws are never edges of the graph.
        hidden: edges of each type that are never drawn, see `bits_of`; `exclude` hides edges
            from one call.

    Raises:
        ConfigError: the options contradict each other or the graph.
    """

    max_threads: int | None = None
    """Threads that may call `sample` at once, ahead of the model: any number, or so many; 0 is for
    who may be called between the steps alone."""
    device = torch.device("cpu")
    """Where subgraphs are made."""
    exchange: Exchange | None = None
    """To the other processes, where none has the whole graph on its device."""

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
    ) -> None:
        check_rule(topology, replace=replace, weighted=weighted, temporal=temporal)
        self.topology, self.num_neighbors, self.seed = topology, num_neighbors, seed
        self.fan_outs = fan_outs(num_neighbors, topology)
        self.num_hops = max((len(hops) for hops in self.fan_outs.values()), default=0)
        self.replace, self.weighted, self.temporal = replace, weighted, temporal
        self.disjoint = disjoint or temporal is not None
        self.strict_negatives, self.hidden = strict_negatives, dict(hidden or {})
        if strict_negatives:
            check_sorted(topology)
        self._prepare()

    def _prepare(self) -> None:
        """Make what the backend needs of the options."""

    def degrees(self, kind: EdgeType, nodes: Tensor) -> Tensor:
        """Return how many edges lead into nodes, on the device."""
        colptr = torch.from_numpy(self.topology.edges[kind].colptr)
        return rows_of(colptr, nodes + 1) - rows_of(colptr, nodes)

    @property
    def edge_permutation(self) -> Any:
        """For PyG's loaders: which edge of the user's `Data` each edge id is; see `topology_of`."""
        order = self.topology.permutation
        if order is None or self.topology.is_heterogeneous:
            return order
        return next(iter(order.values()))

    @abstractmethod
    def sample(
        self,
        seeds: Mapping[str, Ids],
        key: int,
        *,
        exclude: Mapping[EdgeType, Ids] | None = None,
        time: Mapping[str, Ids] | None = None,
    ) -> Subgraph:
        """Return the subgraph around seeds, in PyG's contract.

        Nodes stand in the order in which they were found, seeds first; edges are sorted by
        destination, so that each hop's edges and each layer's destinations are a prefix. One
        attribute more than PyG's: in `colptr` the edges of destination i are `colptr[i]` to
        `colptr[i + 1]`, for all nodes that were expanded.

        Args:
            seeds: by node type; edges lead to the first of those that are the same.
            key: makes the draws of this call.
            exclude: ids of edges that are not there in this call.
            time: of the seeds, for a temporal sampler; default: those of the nodes.

        Raises:
            ValueError: there is no such node or edge, or the time of a seed is missing.
        """

    def warm_up(self, num_threads: int = 1, *, exclude: bool = False) -> None:
        """Do now what the first call would wait for, if anything.

        Args:
            num_threads: calls at a time.
            exclude: whether calls will exclude edges.
        """

    def sample_from_nodes(self, index: NodeSamplerInput) -> Subgraph:
        """Serve a plain `NeighborLoader(..., neighbor_sampler=...)`.

        Torch's generator makes the key: other neighbours each time, the same after `manual_seed`.
        """
        self._check_input(index, self.topology.num_nodes)
        return node_sample(index, partial(self._serve, _drawn_key()))

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> Subgraph:
        """Serve a plain `LinkNeighborLoader(..., neighbor_sampler=...)`; see `sample_from_nodes`.

        Raises:
            ValueError: a node has no negative partner.
        """
        self._check_input(index, self.topology.edges)
        key, negatives = _drawn_key(), None
        if neg_sampling is not None:
            negatives = draw_negatives(
                self.topology,
                index.input_type or next(iter(self.topology.edges)),
                index,
                neg_sampling,
                begin_state(self.seed, key, stream=1),
                disjoint=self.disjoint,
                strict=self.strict_negatives,
            )

        def serve(seeds: Any, time: Any = None) -> Subgraph:
            output = self._serve(key, seeds, time)
            if self.disjoint:
                number_by_edge(output, self.topology, index, negatives)
            return output

        numbers = dict(self.topology.num_nodes)
        num_nodes = numbers if index.input_type else next(iter(numbers.values()))
        return edge_sample(index, serve, num_nodes, self.disjoint, None, negatives)

    def _serve(self, key: int, seeds: Any, time: Any = None) -> Subgraph:
        """Sample around what PyG gives: tensors, by type where there are several."""
        if isinstance(seeds, Tensor):
            name = next(iter(self.topology.num_nodes))
            seeds, time = {name: seeds}, time if time is None else {name: time}
        times = time if time is None else {name: its.numpy() for name, its in time.items()}
        return self.sample({name: its.numpy() for name, its in seeds.items()}, key, time=times)

    def _times(self, seeds: Mapping[str, Ids], time: Mapping[str, Ids] | None) -> dict[str, Ids]:
        """Return the time of the seeds by type; nothing where time plays no part."""
        if self.temporal is not None:
            return read_times(self.topology, seeds, time)
        if time is not None:
            raise ValueError("time: given, but the sampler is not temporal")
        return {}

    def _check_input(
        self, index: NodeSamplerInput | EdgeSamplerInput, types: Iterable[str | EdgeType]
    ) -> None:
        """Refuse a loader whose data has other types than the graph, or times of no use."""
        hetero, found = self.topology.is_heterogeneous, index.input_type
        if hetero == (found is None):
            ours, theirs = ("HeteroData", "Data") if hetero else ("Data", "HeteroData")
            raise ValueError(f"the sampler's graph is {ours}, the loader's {theirs}")
        if hetero:
            check_type("input type", [found], types)
        if index.time is not None and self.temporal is None:
            raise ValueError("the loader gives seeds a time, but the sampler is not temporal")


def _drawn_key() -> int:
    return int(torch.randint(2**62, ()))
