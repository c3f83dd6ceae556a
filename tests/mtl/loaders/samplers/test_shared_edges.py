"""Edges that processes share out: what each draws is what it draws of a whole copy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.graphs.topology import bits_of
from mtl.loaders.samplers.cuda import CudaSampler

NUMBERS = st.integers(0, 999)
SIZES = {"user": 20, "item": 14, "shop": 5}
SEEDS = st.fixed_dictionaries(
    {name: st.lists(st.integers(0, size - 1), max_size=4) for name, size in SIZES.items()}
)
PARTS = ("node", "row", "col", "edge", "colptr")


@settings(max_examples=40)
@given(
    NUMBERS,
    st.lists(SEEDS, min_size=1, max_size=5),
    st.lists(NUMBERS, max_size=30),
    st.lists(NUMBERS, max_size=9),
    st.sampled_from([[-1, -1], [2, 1], [1, 0, 3]]),
    st.booleans(),
)
def test_every_process_draws_what_it_would_alone(
    heterogeneous, on_all, graph, seeds, hidden, excluded, num_neighbors, replace
):
    topology = heterogeneous(graph)
    num_edges = {kind: len(csc.row) for kind, csc in topology.edges.items() if len(csc.row)}
    bits = {kind: bits_of(n, np.array(hidden, np.int64) % n) for kind, n in num_edges.items()}
    exclude = {kind: np.array(excluded, np.int64) % n for kind, n in num_edges.items()}

    def draw(exchange, rank):
        sampler = CudaSampler(topology, num_neighbors, hidden=bits, replace=replace)
        sampler.to("cpu", exchange)
        its = {name: np.array(nodes, np.int64) for name, nodes in seeds[rank].items()}
        sampler.sample(its, 99)  # leaves nothing behind
        output = sampler.sample(its, rank, exclude=exclude)
        degrees = {kind: sampler.degrees(kind, output.node[kind[2]]) for kind in topology.edges}
        return output, degrees

    together = on_all(len(seeds), lambda wire: draw(wire, wire.rank))
    for rank, (ours, degrees) in enumerate(together):
        alone, wanted = draw(None, rank)
        for part in PARTS:
            one, two = getattr(ours, part), getattr(alone, part)
            assert all(torch.equal(one[kind], two[kind]) for kind in two), part
        assert ours.num_sampled_nodes == alone.num_sampled_nodes
        assert all(torch.equal(degrees[kind], wanted[kind]) for kind in wanted)


def test_shares_are_equal(homogeneous, on_all):
    topology = homogeneous(0)

    def share(exchange):
        (edges,) = CudaSampler(topology, [1]).to("cpu", exchange)._graph.edges.values()
        return len(edges._colptr) - 1, len(edges._row)

    assert on_all(4, share) == [(8, 30), (8, 30), (8, 30), (6, 30)]
