"""sampler: edges as seeds: which negative belongs to which edge, and whose tree a node is in."""

import math

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.sampler import (
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    SamplerOutput,
)

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.graphs.topology import Topology
from mtl.loaders.samplers._inputs import Ids, name_of
from mtl.loaders.samplers._negatives import End, Pairs, is_sorted
from mtl.loaders.samplers._random import State


class Negatives(NegativeSampling):
    """Negatives that were drawn before: PyG's own bookkeeping takes them from here."""

    def __init__(self, sampling: NegativeSampling, source: Ids, target: Ids) -> None:
        super().__init__(sampling.mode, sampling.amount)
        self.ends = {"src": torch.from_numpy(source), "dst": torch.from_numpy(target)}

    def sample(
        self, num_samples: int, endpoint: str, num_nodes: int | None = None
    ) -> Int[Tensor, " negatives"]:
        """Return one end of all negatives."""
        return self.ends[endpoint]


def draw_negatives(
    topology: Topology,
    kind: EdgeType,
    index: EdgeSamplerInput,
    sampling: NegativeSampling,
    state: State,
    *,
    disjoint: bool,
    strict: bool,
) -> Negatives:
    """Draw the negatives of some edges, which must not be later than these.

    Args:
        topology: the graph.
        kind: type of the edges.
        index: the edges.
        sampling: what PyG's loader was told.
        state: of the random numbers.
        disjoint: whether every seed has a tree of its own.
        strict: whether a negative may not be an edge of the graph.

    Raises:
        ValueError: there is none.
    """
    edge, fixed = _edge_of_each(len(index.row), sampling, disjoint), sampling.is_triplet()
    pairs = Pairs(
        _end(topology, kind[0], sampling.src_weight, timed=not fixed),
        _end(topology, kind[2], sampling.dst_weight, timed=True),
        topology.edges[kind] if strict else None,
    )
    sources = index.row.numpy()[edge] if fixed else None
    limit = None if index.time is None else index.time.numpy()[edge]
    return Negatives(sampling, *pairs.draw(sources, limit, len(edge), state))


def number_by_edge(
    output: SamplerOutput | HeteroSamplerOutput,
    topology: Topology,
    index: EdgeSamplerInput,
    sampling: NegativeSampling | None,
) -> None:
    """Number trees so that PyG, which takes the number modulo that of edges, finds their edge.

    It would do so with the seeds' own numbers, which is wrong where the negatives are no multiple
    of the edges.
    """
    edges = len(index.row)
    negatives = 0 if sampling is None else math.ceil(edges * sampling.amount)
    sources = edges if sampling is not None and sampling.is_triplet() else edges + negatives
    source, target = torch.arange(sources), torch.arange(edges + negatives)
    if isinstance(output, SamplerOutput):
        output.batch = torch.cat([source, target])[output.batch]
        return
    first, _, last = index.input_type
    seeds = {first: torch.cat([source, target])} if first == last else {first: source, last: target}
    number = torch.cat([seeds[name] for name in topology.num_nodes if name in seeds])
    output.batch = {name: number[tree] for name, tree in output.batch.items()}


def check_sorted(topology: Topology) -> None:
    """Check that edges can be looked up.

    Raises:
        ConfigError: the sources of a destination are not sorted.
    """
    for kind, csc in topology.edges.items():
        if not is_sorted(csc.colptr, csc.row):
            raise ConfigError(
                f"strict_negatives: the edges {name_of(kind)} must be sorted by destination, then "
                "source"
            )


def _end(topology: Topology, name: str, weight: Tensor | None, *, timed: bool) -> End:
    """Return the nodes of a type that may be drawn."""
    number, time = topology.num_nodes[name], topology.time.get(name) if timed else None
    if weight is None:
        return End(number, time, None)
    if len(weight) != number:
        raise ValueError(f"neg_sampling: {len(weight)} weights for {number} nodes of {name}")
    return End(number, time, np.cumsum(weight.double().numpy()))


def _edge_of_each(edges: int, sampling: NegativeSampling, disjoint: bool) -> Ids:
    """Return which edge each negative belongs to, in the order in which PyG deals them out."""
    number = np.arange(math.ceil(edges * sampling.amount))
    if sampling.is_triplet() and not disjoint:
        return np.asarray(number // sampling.amount)
    return np.asarray(number % max(edges, 1))
