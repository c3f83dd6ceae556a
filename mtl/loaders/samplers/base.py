"""sampler: what all backends promise, and the options that they share, checked once."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

import numpy as np
from jaxtyping import Int
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.plugin import nearest

Seeds = Mapping[str, Int[np.ndarray, " seeds"]]
EdgeIds = Mapping[EdgeType, Int[np.ndarray, " edges"]]
NumNeighbors = Sequence[int] | Mapping[EdgeType, Sequence[int]]
Subgraph: TypeAlias = SamplerOutput | HeteroSamplerOutput


class Sampler(BaseSampler):
    """Draw the neighbours of seeds; what is drawn is a pure function of seeds, key and options.

    Args:
        topology: the graph.
        num_neighbors: neighbours drawn for each node per hop, or those of each edge type; -1 takes
            all.
        seed: makes the draws of this run.
    """

    threads_allowed: ClassVar[bool] = True
    """Whether several threads may call `sample` at once."""

    def __init__(self, topology: Topology, num_neighbors: NumNeighbors, *, seed: int = 0) -> None:
        self.topology, self.num_neighbors, self.seed = topology, num_neighbors, seed
        self.fan_outs = _fan_outs(num_neighbors, topology)
        self.num_hops = max((len(hops) for hops in self.fan_outs.values()), default=0)

    @abstractmethod
    def sample(self, seeds: Seeds, key: int) -> Subgraph:
        """Return the subgraph around seeds."""

    def sample_from_nodes(self, index: NodeSamplerInput) -> Subgraph:
        """Serve a plain `NeighborLoader(..., neighbor_sampler=...)`; the seeds make the key."""
        raise NotImplementedError

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> Subgraph:
        """Serve a plain `LinkNeighborLoader(..., neighbor_sampler=...)`."""
        raise NotImplementedError

    def _seeds(self, seeds: Seeds) -> dict[str, Int[np.ndarray, " seeds"]]:
        """Return the seeds of every node type, in the order of the topology."""
        types = self.topology.num_nodes
        for name in seeds:
            if name not in types:
                raise ValueError(
                    f"seeds: no node type {name!r}{nearest(name, list(types))} "
                    f"(the graph has: {', '.join(types)})"
                )
        none = np.empty(0, np.int64)
        return {name: np.asarray(seeds.get(name, none), np.int64) for name in types}


def _fan_outs(num_neighbors: NumNeighbors, topology: Topology) -> dict[EdgeType, tuple[int, ...]]:
    """Return the neighbours of each hop by edge type, in the order of the topology.

    Raises:
        ConfigError: an edge type that there is not, or one that is missing.
    """
    if not isinstance(num_neighbors, Mapping):
        return dict.fromkeys(topology.edges, tuple(num_neighbors))
    names = {"__".join(kind): kind for kind in topology.edges}
    for kind in num_neighbors:
        if kind not in topology.edges:
            raise ConfigError(
                f"num_neighbors: no edge type {'__'.join(kind)}"
                f"{nearest('__'.join(kind), list(names))} (the graph has: {', '.join(names)})"
            )
    for name, kind in names.items():
        if kind not in num_neighbors:
            raise ConfigError(f"num_neighbors: edge type {name} is missing")
    fan_outs = {kind: tuple(num_neighbors[kind]) for kind in topology.edges}
    if len({len(hops) for hops in fan_outs.values()}) > 1:
        raise ConfigError("num_neighbors: every edge type must have the same number of hops")
    return fan_outs
