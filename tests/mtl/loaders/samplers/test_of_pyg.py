"""A user's own PyG graph, in any order, through PyG's loaders and our sampler."""

import pickle

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import ImbalancedSampler, LinkNeighborLoader, NeighborLoader

from mtl.loaders.samplers.numba import NumbaSampler
from mtl.loaders.samplers.of_pyg import topology_of


@pytest.fixture
def data() -> Data:
    rng = torch.manual_seed(0)
    edge_index = torch.randint(30, (2, 200), generator=rng)
    y = torch.randint(3, (30,), generator=rng)
    return Data(torch.randn(30, 4), edge_index, edge_attr=torch.arange(200.0), y=y)


def test_edges_and_their_attributes_are_those_of_the_graph_as_it_is(data):
    loader = NeighborLoader(data, [3, 2], neighbor_sampler=NumbaSampler(topology_of(data), [3, 2]))
    for batch in loader:
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        assert torch.equal(batch.edge_attr, data.edge_attr[batch.e_id])


def test_edges_of_several_types_are_those_of_the_graph_as_it_is():
    data, rng = HeteroData(), torch.manual_seed(0)
    data["user"].num_nodes, data["item"].num_nodes = 20, 10
    kinds = {("user", "buys", "item"): (20, 10), ("item", "sold", "user"): (10, 20)}
    for kind, (src, dst) in kinds.items():
        ends = [torch.randint(n, (60,), generator=rng) for n in (src, dst)]
        data[kind].edge_index = torch.stack(ends)
    sampler = NumbaSampler(topology_of(data), [3, 3])
    for batch in NeighborLoader(data, [3, 3], input_nodes="user", neighbor_sampler=sampler):
        for kind in kinds:
            row, col = batch[kind].edge_index
            there = torch.stack([batch[kind[0]].n_id[row], batch[kind[2]].n_id[col]])
            assert torch.equal(there, data[kind].edge_index[:, batch[kind].e_id])


def test_pygs_recipe_for_unbalanced_classes_works(data):
    sampler = NumbaSampler(topology_of(data), [3, 2])
    loader = NeighborLoader(
        data, [3, 2], batch_size=30, sampler=ImbalancedSampler(data.y), neighbor_sampler=sampler
    )
    (batch,) = loader
    assert len(set(batch.input_id.tolist())) < 30
    assert torch.equal(batch.n_id[:30], batch.input_id)


def test_the_same_seeds_draw_other_neighbours_each_time_and_the_same_after_manual_seed(data):
    sampler = NumbaSampler(topology_of(data), [2])
    loader = NeighborLoader(data, [2], batch_size=30, neighbor_sampler=sampler)
    links = LinkNeighborLoader(data, [2], batch_size=200, neighbor_sampler=sampler)
    for some in (loader, links):
        draws = []
        for seed in (1, 1, None):
            if seed is not None:
                torch.manual_seed(seed)
            draws.append(next(iter(some)).e_id.tolist())
        assert draws[0] == draws[1] != draws[2]


def test_a_sampler_can_go_to_a_process_that_is_not_forked(data):
    sampler = NumbaSampler(topology_of(data), [3, 2])
    seeds = {"node": np.arange(5)}
    expected = sampler.sample(seeds, 7).edge
    assert torch.equal(pickle.loads(pickle.dumps(sampler)).sample(seeds, 7).edge, expected)


def test_weights_and_times_of_edges_come_along(data):
    data.w, data.t = torch.rand(200), torch.arange(200)
    csc = topology_of(data, weight_attr="w", time_attr="t").edges["node", "to", "node"]
    order = np.lexsort(data.edge_index.numpy())
    assert np.array_equal(csc.weight, data.w.numpy()[order])
    assert np.array_equal(csc.time, order)


def test_an_edge_to_nowhere_is_refused(data):
    data.edge_index[1, 3] = 30
    with pytest.raises(ValueError, match="edge_index of node__to__node: there is no node 30: 0 to"):
        topology_of(data)
