"""The sampler: PyG's contract, uniform, and a pure function of seeds and key."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.sampler import SamplerOutput
from torch_geometric.utils import k_hop_subgraph, trim_to_layer

from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Csc, Topology
from mtl.loaders.samplers.numba import NumbaSampler

NODE = "node"


def random_csc(seed: int, num_nodes: int = 30, num_edges: int = 120) -> Csc:
    """Draw a directed graph with loops, double edges, hubs and nodes without neighbours."""
    rng = np.random.default_rng(seed)
    col = np.sort(rng.integers(num_nodes, size=num_edges) ** 2 // num_nodes)
    colptr = np.searchsorted(col, np.arange(num_nodes + 1))
    return Csc(colptr, rng.integers(num_nodes, size=num_edges).astype(np.int32))


def homogeneous(csc: Csc) -> Topology:
    """Make a graph of one type of nodes and edges."""
    return Topology({NODE: len(csc.colptr) - 1}, {(NODE, "to", NODE): csc})


def draw(csc: Csc, num_neighbors: list[int], seeds: np.ndarray, key: int = 0) -> SamplerOutput:
    return NumbaSampler(homogeneous(csc), num_neighbors).sample({NODE: seeds}, key)


def reference(csc: Csc, seeds: np.ndarray, num_hops: int) -> tuple[list[int], list[int]]:
    """Return nodes and edges in the order in which a plain search finds them."""
    colptr, row = csc.colptr, csc.row
    nodes, edges, frontier = seeds.tolist(), [], seeds.tolist()
    for _ in range(num_hops):
        found = [e for v in frontier for e in range(colptr[v], colptr[v + 1])]
        frontier = [u for u in dict.fromkeys(row[found].tolist()) if u not in nodes]
        nodes, edges = nodes + frontier, edges + found
    return nodes, edges


GRAPHS = st.builds(random_csc, st.integers(0, 999))
SEEDS = st.lists(st.integers(0, 29), unique=True, max_size=8).map(lambda s: np.array(s, np.int64))
FANOUTS = st.lists(st.sampled_from([-1, 1, 2, 3, 50]), max_size=3)


@given(GRAPHS, SEEDS, st.integers(0, 3))
def test_all_neighbours_are_what_a_plain_search_finds(csc, seeds, num_hops):
    output = draw(csc, [-1] * num_hops, seeds)
    assert (output.node.tolist(), output.edge.tolist()) == reference(csc, seeds, num_hops)


def test_all_neighbours_are_pygs_k_hop_subgraph():
    csc = random_csc(0)
    edge_index = torch.stack([torch.from_numpy(csc.row).long(), destinations(csc.colptr)])
    output = draw(csc, [-1, -1], np.array([3, 20]))
    nodes, _, _, _ = k_hop_subgraph([3, 20], 2, edge_index, num_nodes=30)
    assert output.node.sort().values.tolist() == nodes.tolist()


@given(GRAPHS, SEEDS, FANOUTS, st.integers(0, 2**63 - 1))
def test_a_subgraph_keeps_pygs_contract(csc, seeds, fanout, key):
    colptr, row = csc.colptr, csc.row
    output = draw(csc, fanout, seeds, key)
    nodes, source, target = output.node.numpy(), output.row.numpy(), output.col.numpy()
    assert nodes[: len(seeds)].tolist() == seeds.tolist()
    assert len(set(nodes.tolist())) == len(nodes) == sum(output.num_sampled_nodes)
    assert len(source) == len(target) == len(output.edge) == sum(output.num_sampled_edges)
    assert len(output.num_sampled_nodes) - 1 == len(output.num_sampled_edges) == len(fanout)
    assert (row[output.edge.numpy()] == nodes[source]).all()
    assert (destinations(colptr)[output.edge].numpy() == nodes[target]).all()
    assert len(set(output.edge.tolist())) == len(output.edge)
    assert (np.diff(target) >= 0).all()


@given(GRAPHS, SEEDS, FANOUTS, st.integers(0, 999))
def test_every_node_but_those_of_the_last_hop_gets_min_of_k_and_its_degree(csc, seeds, fanout, key):
    output = draw(csc, fanout, seeds, key)
    drawn = np.bincount(output.col.numpy(), minlength=len(output.node))
    hop = np.repeat(np.arange(len(fanout) + 1), output.num_sampled_nodes)
    limit = np.array([99 if k < 0 else k for k in fanout] + [0])
    degree = np.diff(csc.colptr)[output.node.numpy()]
    assert drawn.tolist() == np.minimum(limit[hop], degree).tolist()


def test_every_subset_of_neighbours_is_equally_likely():
    csc = Csc(np.array([0, 7] + [7] * 7), np.arange(1, 8, dtype=np.int32))
    sampler = NumbaSampler(homogeneous(csc), [3])
    subsets = {frozenset(c): 0 for c in combinations(range(7), 3)}
    for key in range(7000):
        subsets[frozenset(sampler.sample({NODE: np.array([0])}, key).edge.tolist())] += 1
    assert chisquare(list(subsets.values())).pvalue > 0.01  # the keys are fixed: never by chance


def test_draws_depend_on_neither_thread_nor_what_was_drawn_before():
    sampler = NumbaSampler(homogeneous(random_csc(1, 2000, 40_000)), [5, 5])
    seeds = {NODE: np.arange(0, 2000, 40)}
    alone = [sampler.sample(seeds, key).edge.tolist() for key in range(40)]
    with ThreadPoolExecutor(4) as pool:
        again = list(
            pool.map(lambda key: sampler.sample(seeds, key).edge.tolist(), range(40)[::-1])
        )
    assert again[::-1] == alone


def test_keys_and_seeds_of_the_run_change_the_draw():
    topology, seeds = homogeneous(random_csc(1, 100, 2000)), {NODE: np.arange(10)}
    draws = {
        tuple(NumbaSampler(topology, [3], seed=seed).sample(seeds, key).edge.tolist())
        for seed in (0, 1, 2**64 - 1)
        for key in range(5)
    }
    assert len(draws) == 15


def test_no_seeds_and_no_neighbours_make_empty_subgraphs():
    csc = Csc(np.zeros(5, np.int64), np.empty(0, np.int32))
    empty, lonely = (draw(csc, [2, -1], np.array(s, np.int64)) for s in ([], [3, 1]))
    assert (empty.num_sampled_nodes, empty.num_sampled_edges) == ([0, 0, 0], [0, 0])
    assert (lonely.num_sampled_nodes, lonely.num_sampled_edges) == ([2, 0, 0], [0, 0])
    assert empty.row.dtype == lonely.row.dtype == torch.long


@pytest.mark.parametrize("num_neighbors", [[-1, -1], [2, 2]])
def test_pyg_trims_a_batch_to_each_layer_without_changing_the_seeds(num_neighbors):
    output = draw(random_csc(2), num_neighbors, np.array([4, 9, 25]), key=1)
    edge_index = torch.stack([output.row, output.col])
    convolutions = [SAGEConv(4, 4).double() for _ in num_neighbors]
    x = trimmed = torch.randn(len(output.node), 4).double()
    trimmed_index, sampled = edge_index, (output.num_sampled_nodes, output.num_sampled_edges)
    for layer, convolution in enumerate(convolutions):
        trimmed, trimmed_index, _ = trim_to_layer(layer, *sampled, trimmed, trimmed_index)
        trimmed, x = convolution(trimmed, trimmed_index), convolution(x, edge_index)
    torch.testing.assert_close(trimmed[:3], x[:3], atol=1e-12, rtol=0)


def test_a_plain_neighbor_loader_takes_the_sampler(customers: GraphStore):
    sampler, data = NumbaSampler(customers.topology(), [4, 2]), customers.data()
    (csc,) = customers.topology().edges.values()
    loader = NeighborLoader(
        data, [4, 2], input_nodes=torch.arange(100), batch_size=30, neighbor_sampler=sampler
    )
    batches: list[Data] = list(loader)
    assert torch.cat([b.n_id[: b.batch_size] for b in batches]).tolist() == list(range(100))
    for batch in batches:
        assert torch.equal(batch.x, data.x[batch.n_id])
        assert torch.equal(
            torch.from_numpy(csc.row)[batch.e_id], batch.n_id[batch.edge_index[0]].int()
        )


def destinations(colptr: np.ndarray) -> torch.Tensor:
    """Return the destination of each edge."""
    return torch.from_numpy(np.repeat(np.arange(len(colptr) - 1), np.diff(colptr)))
