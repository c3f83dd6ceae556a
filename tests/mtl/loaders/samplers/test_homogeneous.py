"""Graphs of one type: PyG's contract, and a pure function of seeds and key."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.utils import k_hop_subgraph, trim_to_layer

from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Csc, Topology
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.samplers.numba import NumbaSampler

NODE, EDGE = "node", ("node", "to", "node")
GRAPHS = st.integers(0, 999)
SEEDS = st.lists(st.integers(0, 29), unique=True, max_size=8).map(lambda s: np.array(s, np.int64))
FANOUTS = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 50]), max_size=3)
BACKENDS = pytest.mark.parametrize("sampler_type", [NumbaSampler, CudaSampler])


@BACKENDS
@given(GRAPHS, SEEDS, st.integers(0, 3))
def test_all_neighbours_are_what_a_plain_search_finds(
    sampler_type, homogeneous, search, graph, seeds, num_hops
):
    topology = homogeneous(graph)
    output = sampler_type(topology, [-1] * num_hops).sample({NODE: seeds}, key=0)
    nodes, edges = search(topology, {NODE: seeds}, num_hops)
    assert (output.node.tolist(), output.edge.tolist()) == (nodes[NODE], edges[EDGE])


def test_all_neighbours_are_pygs_k_hop_subgraph(homogeneous):
    topology, seeds = homogeneous(0), {NODE: np.array([3, 20])}
    edge_index = torch.stack([sources(topology), destinations(topology)])
    output = NumbaSampler(topology, [-1, -1]).sample(seeds, key=0)
    nodes, _, _, _ = k_hop_subgraph([3, 20], 2, edge_index, num_nodes=30)
    assert output.node.sort().values.tolist() == nodes.tolist()


@BACKENDS
@given(GRAPHS, SEEDS, FANOUTS, st.integers(0, 2**64 - 1))
def test_a_subgraph_keeps_pygs_contract(sampler_type, homogeneous, graph, seeds, fanout, key):
    topology = homogeneous(graph)
    output = sampler_type(topology, fanout).sample({NODE: seeds}, key)
    nodes, source, target = output.node, output.row, output.col
    assert nodes[: len(seeds)].tolist() == seeds.tolist()
    assert len(set(nodes.tolist())) == len(nodes) == sum(output.num_sampled_nodes)
    assert len(source) == len(target) == len(output.edge) == sum(output.num_sampled_edges)
    assert len(output.num_sampled_nodes) - 1 == len(output.num_sampled_edges) == len(fanout)
    assert torch.equal(sources(topology)[output.edge], nodes[source])
    assert torch.equal(destinations(topology)[output.edge], nodes[target])
    assert len(set(output.edge.tolist())) == len(output.edge)
    assert (target.diff() >= 0).all()
    assert output.batch is None


@BACKENDS
@given(GRAPHS, SEEDS, FANOUTS)
def test_colptr_says_where_the_edges_of_each_expanded_node_are(
    sampler_type, homogeneous, graph, seeds, fanout
):
    output = sampler_type(homogeneous(graph), fanout).sample({NODE: seeds}, key=0)
    expanded = sum(output.num_sampled_nodes[:-1])
    assert len(output.colptr) == expanded + 1
    counts = torch.bincount(output.col, minlength=expanded)
    assert torch.equal(output.colptr.diff(), counts)
    assert output.colptr[0] == 0


@BACKENDS
@given(GRAPHS, SEEDS, FANOUTS, st.integers(0, 999))
def test_every_node_but_those_of_the_last_hop_gets_min_of_k_and_its_degree(
    sampler_type, homogeneous, graph, seeds, fanout, key
):
    topology = homogeneous(graph)
    output = sampler_type(topology, fanout).sample({NODE: seeds}, key)
    drawn = np.bincount(output.col.numpy(), minlength=len(output.node))
    hop = np.repeat(np.arange(len(fanout) + 1), output.num_sampled_nodes)
    limit = np.array([99 if k < 0 else k for k in fanout] + [0])
    degree = np.diff(topology.edges[EDGE].colptr)[output.node.numpy()]
    assert drawn.tolist() == np.minimum(limit[hop], degree).tolist()


def test_draws_depend_on_neither_thread_nor_what_was_drawn_before(homogeneous):
    sampler = NumbaSampler(homogeneous(1, 2000, 40_000), [5, 5])
    seeds = {NODE: np.arange(0, 2000, 40)}

    def edges(key: int) -> list[int]:
        return sampler.sample(seeds, key).edge.tolist()

    alone = [edges(key) for key in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(edges, range(40)[::-1]))[::-1] == alone


@pytest.mark.parametrize("map_bytes", [0, 1 << 20])
def test_a_seed_that_is_there_twice_is_expanded_twice_and_found_at_its_first_place(
    homogeneous, map_bytes
):
    topology = homogeneous(2)
    sampler = NumbaSampler(topology, [-1, -1], map_bytes=map_bytes)
    for _ in range(3):
        out = sampler.sample({NODE: np.array([3, 4, 3, 3])}, key=5)
        assert out.node[:4].tolist() == [3, 4, 3, 3]
        assert len(set(out.node[4:].tolist()) | {3, 4}) == len(out.node) - 2
        assert not set(out.row.tolist()) & {2, 3}
        degree = np.diff(topology.edges[EDGE].colptr)
        assert out.num_sampled_edges[0] == degree[[3, 4, 3, 3]].sum()


@BACKENDS
def test_keys_and_seeds_of_the_run_change_the_draw(sampler_type, homogeneous):
    topology, seeds = homogeneous(1, 100, 2000), {NODE: np.arange(10)}
    draws = {
        tuple(sampler_type(topology, [3], seed=seed).sample(seeds, key).edge.tolist())
        for seed in (0, 1, 2**64 - 1)
        for key in range(5)
    }
    assert len(draws) == 15


def test_no_seeds_and_no_neighbours_make_empty_subgraphs():
    csc = Csc(np.zeros(5, np.int64), np.empty(0, np.int32))
    sampler = NumbaSampler(Topology({NODE: 4}, {EDGE: csc}), [2, -1])
    empty, lonely = (sampler.sample({NODE: np.array(s, np.int64)}, 0) for s in ([], [3, 1]))
    assert (empty.num_sampled_nodes, empty.num_sampled_edges) == ([0, 0, 0], [0, 0])
    assert (lonely.num_sampled_nodes, lonely.num_sampled_edges) == ([2, 0, 0], [0, 0])
    assert empty.row.dtype == lonely.row.dtype == torch.long


@BACKENDS
@pytest.mark.parametrize("num_neighbors", [[-1, -1], [2, 2]])
def test_pyg_trims_a_batch_to_each_layer_without_changing_the_seeds(
    sampler_type, homogeneous, num_neighbors
):
    seeds = {NODE: np.array([4, 9, 25])}
    output = sampler_type(homogeneous(2), num_neighbors).sample(seeds, key=1)
    edge_index = torch.stack([output.row, output.col])
    convolutions = [SAGEConv(4, 4).double() for _ in num_neighbors]
    x = trimmed = torch.randn(len(output.node), 4).double()
    trimmed_index, sampled = edge_index, (output.num_sampled_nodes, output.num_sampled_edges)
    for layer, convolution in enumerate(convolutions):
        trimmed, trimmed_index, _ = trim_to_layer(layer, *sampled, trimmed, trimmed_index)
        trimmed, x = convolution(trimmed, trimmed_index), convolution(x, edge_index)
    torch.testing.assert_close(trimmed[:3], x[:3], atol=1e-12, rtol=0)


@BACKENDS
def test_a_plain_neighbor_loader_takes_the_sampler(sampler_type, customers: GraphStore):
    sampler, data = sampler_type(customers.topology(), [4, 2]), customers.data()
    loader = NeighborLoader(
        data, [4, 2], input_nodes=torch.arange(100), batch_size=30, neighbor_sampler=sampler
    )
    batches: list[Data] = list(loader)
    assert torch.cat([b.n_id[: b.batch_size] for b in batches]).tolist() == list(range(100))
    for batch in batches:
        assert torch.equal(batch.x, data.x[batch.n_id])
        edges = sources(customers.topology())[batch.e_id]
        assert torch.equal(edges, batch.n_id[batch.edge_index[0]])


def sources(topology: Topology) -> torch.Tensor:
    """Return the source of each edge."""
    (csc,) = topology.edges.values()
    return torch.from_numpy(np.asarray(csc.row)).long()


def destinations(topology: Topology) -> torch.Tensor:
    """Return the destination of each edge."""
    (csc,) = topology.edges.values()
    return torch.from_numpy(np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr)))
