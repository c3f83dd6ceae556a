"""Graphs of several types: one call for seeds of all of them, in PyG's form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.utils import trim_to_layer

from mtl.errors import ConfigError
from mtl.graphs.topology import Topology
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.samplers.numba import NumbaSampler

GRAPHS = st.integers(0, 999)
FANOUTS = st.lists(st.sampled_from([-1, 0, 1, 2, 50]), min_size=2, max_size=2)
BUYS, FOLLOWS = ("user", "buys", "item"), ("user", "follows", "user")
BACKENDS = pytest.mark.parametrize("sampler_type", [NumbaSampler, CudaSampler])


def some(size: int) -> st.SearchStrategy[np.ndarray]:
    """Choose different nodes of a type."""
    return st.lists(st.integers(0, size - 1), unique=True, max_size=4).map(
        lambda s: np.array(s, np.int64)
    )


SEEDS = st.fixed_dictionaries({}, optional={"user": some(20), "item": some(14), "shop": some(5)})


@BACKENDS
@given(GRAPHS, SEEDS, st.integers(0, 3))
def test_all_neighbours_are_what_a_plain_search_finds(
    sampler_type, heterogeneous, search, graph, seeds, num_hops
):
    topology = heterogeneous(graph)
    output = sampler_type(topology, [-1] * num_hops).sample(seeds, key=0)
    nodes, edges = search(topology, seeds, num_hops)
    assert {name: its.tolist() for name, its in output.node.items()} == nodes
    assert {kind: its.tolist() for kind, its in output.edge.items()} == edges


@BACKENDS
@given(GRAPHS, SEEDS, st.dictionaries(st.sampled_from([BUYS, FOLLOWS]), FANOUTS))
def test_each_edge_type_has_its_own_number_of_neighbours(
    sampler_type, heterogeneous, graph, seeds, some_types
):
    topology = heterogeneous(graph)
    fan_outs = {kind: some_types.get(kind, [1, -1]) for kind in topology.edges}
    output = sampler_type(topology, fan_outs).sample(seeds, key=3)
    for kind, csc in topology.edges.items():
        sampled = output.num_sampled_nodes[kind[2]]
        limit = np.repeat([99 if k < 0 else k for k in fan_outs[kind]] + [0], sampled)
        degree = np.diff(csc.colptr)[output.node[kind[2]].numpy()]
        drawn = np.bincount(output.col[kind].numpy(), minlength=sum(sampled))
        assert drawn.tolist() == np.minimum(limit, degree).tolist()


@BACKENDS
@given(GRAPHS, SEEDS, FANOUTS)
def test_a_subgraph_keeps_pygs_contract(sampler_type, heterogeneous, graph, seeds, fanout):
    topology = heterogeneous(graph)
    output = sampler_type(topology, fanout).sample(seeds, key=1)
    for name, nodes in output.node.items():
        given_seeds = seeds.get(name, np.empty(0)).tolist()
        assert nodes[: len(given_seeds)].tolist() == given_seeds
        assert len(set(nodes.tolist())) == len(nodes) == sum(output.num_sampled_nodes[name])
        assert len(output.num_sampled_nodes[name]) == len(fanout) + 1
    for kind, csc in topology.edges.items():
        edge, source, target = output.edge[kind], output.row[kind], output.col[kind]
        assert len(edge) == len(source) == len(target) == sum(output.num_sampled_edges[kind])
        rows = torch.from_numpy(csc.row).long()
        assert torch.equal(rows[edge], output.node[kind[0]][source])
        cols = torch.from_numpy(np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr)))
        assert torch.equal(cols[edge], output.node[kind[2]][target])
        expanded = sum(output.num_sampled_nodes[kind[2]][:-1])
        counts = torch.bincount(target, minlength=expanded)
        assert torch.equal(output.colptr[kind].diff(), counts)
        assert (target.diff() >= 0).all()


def test_no_order_of_a_users_dict_changes_the_draw(heterogeneous):
    topology = heterogeneous(0)
    seeds = {"user": np.arange(4), "item": np.arange(3), "shop": np.arange(2)}
    fan_outs = {kind: [2, 1 + i % 2] for i, kind in enumerate(topology.edges)}

    def draw(order: int) -> list[list[int]]:
        its = dict(list(seeds.items())[::order])
        outs = dict(list(fan_outs.items())[::order])
        exclude = dict(list({BUYS: np.array([3]), FOLLOWS: np.array([4])}.items())[::order])
        sampler = NumbaSampler(topology, outs, disjoint=True)
        output = sampler.sample(its, key=7, exclude=exclude)
        edges = [output.edge[kind].tolist() for kind in topology.edges]
        return edges + [output.batch[name].tolist() for name in topology.num_nodes]

    assert draw(1) == draw(-1)


def data_of(topology: Topology) -> HeteroData:
    """Return the graph with features that say which node and edge they belong to."""
    data = HeteroData()
    for name, number in topology.num_nodes.items():
        data[name].x = torch.arange(number).double().view(-1, 1) + torch.randn(4).double() / 4
    for kind, csc in topology.edges.items():
        col = np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr))
        data[kind].edge_index = torch.from_numpy(np.stack([csc.row.astype(np.int64), col]))
        data[kind].edge_attr = torch.arange(len(csc.row)).view(-1, 1)
    return data


@pytest.mark.parametrize("replace", [False, True])
def test_a_plain_neighbor_loader_on_hetero_data_takes_the_sampler(heterogeneous, replace):
    topology = heterogeneous(4)
    data, sampler = data_of(topology), NumbaSampler(topology, [3, 2], replace=replace)
    loader = NeighborLoader(
        data, [3, 2], input_nodes="item", batch_size=5, neighbor_sampler=sampler
    )
    seen = []
    for batch in loader:
        seen += batch["item"].n_id[: batch["item"].batch_size].tolist()
        assert torch.equal(batch["user"].x, data["user"].x[batch["user"].n_id])
        for kind in topology.edges:
            store = batch[kind]
            assert torch.equal(store.edge_attr.view(-1), store.e_id)
            row, col = data[kind].edge_index[:, store.e_id]
            assert torch.equal(batch[kind[0]].n_id[store.edge_index[0]], row)
            assert torch.equal(batch[kind[2]].n_id[store.edge_index[1]], col)
    assert seen == list(range(14))


@BACKENDS
@pytest.mark.parametrize("num_neighbors", [[-1, -1], [2, 2]])
def test_pyg_trims_a_batch_to_each_layer_without_changing_the_seeds(
    sampler_type, heterogeneous, num_neighbors
):
    topology = heterogeneous(4)
    loader = NeighborLoader(
        data_of(topology),
        num_neighbors,
        input_nodes="item",
        batch_size=14,
        neighbor_sampler=sampler_type(topology, num_neighbors),
    )
    (batch,) = loader
    kinds = [kind for kind in topology.edges if kind[0] in ("user", "item")]
    layers = [
        HeteroConv({kind: SAGEConv(4, 4).double() for kind in kinds}, aggr="sum") for _ in range(2)
    ]
    x, trimmed = batch.x_dict, batch.x_dict
    edges = trimmed_edges = batch.edge_index_dict
    for number, layer in enumerate(layers):
        trimmed, trimmed_edges, _ = trim_to_layer(
            number,
            batch.num_sampled_nodes_dict,
            batch.num_sampled_edges_dict,
            trimmed,
            trimmed_edges,
        )
        x, trimmed = (
            {**part, **layer(part, its)} for part, its in ((x, edges), (trimmed, trimmed_edges))
        )
    torch.testing.assert_close(trimmed["item"][:14], x["item"][:14], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("num_neighbors", "message"),
    [
        ({("user", "buy", "item"): [1]}, "no edge type user__buy__item; did you mean 'user__buys"),
        ({BUYS: [1]}, "edge type user__follows__user is missing"),
        ([2, -2], "at least 0, found -2"),
        ([2.5], "at least 0, found 2.5"),
        ([True], "at least 0, found True"),
    ],
)
def test_numbers_of_neighbours_that_cannot_be_are_refused(heterogeneous, num_neighbors, message):
    with pytest.raises(ConfigError, match=message):
        NumbaSampler(heterogeneous(0), num_neighbors)


def test_edge_types_have_the_same_number_of_hops(heterogeneous):
    topology = heterogeneous(0)
    fan_outs = {kind: [1, 2] for kind in topology.edges} | {BUYS: [1]}
    with pytest.raises(
        ConfigError, match=r"as many hops everywhere, found .*'user__buys__item': 1"
    ):
        NumbaSampler(topology, fan_outs)


@pytest.mark.parametrize(
    ("seeds", "exclude", "message"),
    [
        ({"users": [0]}, {}, "seeds: the graph has no type users; did you mean 'user'"),
        ({"user": [1, 20]}, {}, "seeds: there is no user 20: 0 to 19"),
        ({"item": [-1]}, {}, "seeds: there is no item -1: 0 to 13"),
        ({"item": [0.5]}, {}, "seeds: must be a list of whole numbers, found float64"),
        ({"item": [[1]]}, {}, "seeds: must be a list of whole numbers, found int64 of shape"),
        ({}, {("user", "buys", "shop"): [0]}, "exclude: the graph has no type user__buys__shop"),
        ({}, {BUYS: [2, 70]}, "exclude: user__buys__item has no edge 70: 0 to 69"),
        ({}, {BUYS: [-3, 2]}, "exclude: user__buys__item has no edge -3: 0 to 69"),
    ],
)
def test_what_a_call_cannot_be_given_is_refused_by_name(heterogeneous, seeds, exclude, message):
    sampler = NumbaSampler(heterogeneous(0), [1])
    with pytest.raises(ValueError, match=message):
        sampler.sample(
            {name: np.array(its) for name, its in seeds.items()},
            0,
            exclude={kind: np.array(its) for kind, its in exclude.items()},
        )


def test_a_loader_of_another_kind_of_data_is_refused(homogeneous, heterogeneous):
    one, several = NumbaSampler(homogeneous(0), [1]), NumbaSampler(heterogeneous(0), [1])
    data = data_of(heterogeneous(0))
    loader = NeighborLoader(data, [1], input_nodes="user", neighbor_sampler=one)
    with pytest.raises(ValueError, match="the sampler's graph is Data, the loader's HeteroData"):
        next(iter(loader))
    homogeneous_data = data.to_homogeneous()
    loader = NeighborLoader(homogeneous_data, [1], neighbor_sampler=several)
    with pytest.raises(ValueError, match="the sampler's graph is HeteroData, the loader's Data"):
        next(iter(loader))
