"""Edges as seeds: LinkNeighborLoader's batches, and negatives that are none by accident."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkNeighborLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling

from mtl.errors import ConfigError
from mtl.graphs.topology import Csc, Topology
from mtl.loaders.samplers.numba import NumbaSampler

NODE, EDGE = "node", ("node", "to", "node")
BUYS, LIKE, FOLLOWS = (
    ("user", "buys", "item"),
    ("item", "like", "item"),
    ("user", "follows", "user"),
)
GRAPHS = st.integers(0, 999)
AMOUNTS = st.sampled_from(
    [("binary", 1), ("binary", 2.5), ("binary", 0.4), ("triplet", 1), ("triplet", 3)]
)
KINDS = st.sampled_from([None, BUYS, LIKE])


def ends_of(csc: Csc) -> tuple[torch.Tensor, torch.Tensor]:
    """Return source and destination of each edge."""
    col = np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr))
    return torch.from_numpy(csc.row.astype(np.int64)), torch.from_numpy(col)


def some_edges(csc: Csc, kind: Any, count: int = 7, time: int | None = None) -> EdgeSamplerInput:
    """Choose edges as seeds, whose number is their place among them."""
    row, col = ends_of(csc)
    picked = torch.arange(0, len(row), max(len(row) // count, 1))[:count]
    times = None if time is None else torch.full((len(picked),), time)
    return EdgeSamplerInput(torch.arange(len(picked)), row[picked], col[picked], None, times, kind)


def pairs_of(output: Any, mode: str, kind: Any, sources: torch.Tensor) -> tuple[Any, Any]:
    """Return the negatives as PyG's loader hands them out: nodes of the graph."""
    node = {NODE: output.node} if kind is None else output.node
    first, last = (NODE, NODE) if kind is None else (kind[0], kind[2])
    if mode == "binary":
        _, index, label, _ = output.metadata
        negative = label == 0
        return node[first][index[0, negative]], node[last][index[1, negative]]
    _, source, _, negative, _ = output.metadata
    assert torch.equal(node[first][source], sources)
    partners = negative.view(len(sources), -1)
    return sources.repeat_interleave(partners.shape[1]), node[last][partners].reshape(-1)


@given(GRAPHS, KINDS, AMOUNTS, st.booleans())
def test_strict_negatives_are_never_edges(
    homogeneous, heterogeneous, graph, kind, amount, disjoint
):
    topology = (heterogeneous if kind else homogeneous)(graph)
    csc = topology.edges[kind or EDGE]
    index, sampling = some_edges(csc, kind), NegativeSampling(*amount)
    sampler = NumbaSampler(topology, [2], strict_negatives=True, disjoint=disjoint, seed=graph)
    output = sampler.sample_from_edges(index, sampling)
    source, target = pairs_of(output, amount[0], kind, index.row)
    edges = set(zip(*(end.tolist() for end in ends_of(csc)), strict=True))
    assert len(source) == len(target) == np.ceil(len(index.row) * amount[1])
    assert not edges & set(zip(source.tolist(), target.tolist(), strict=True))


@given(GRAPHS, KINDS, AMOUNTS)
def test_disjoint_trees_are_numbered_by_the_edge_that_they_belong_to(
    homogeneous, heterogeneous, graph, kind, amount
):
    topology = (heterogeneous if kind else homogeneous)(graph)
    index, sampling = some_edges(topology.edges[kind or EDGE], kind), NegativeSampling(*amount)
    output = NumbaSampler(topology, [2], disjoint=True).sample_from_edges(index, sampling)
    batch = {NODE: output.batch} if kind is None else output.batch
    first, last = (NODE, NODE) if kind is None else (kind[0], kind[2])
    if amount[0] == "binary":
        _, pairs, _, _ = output.metadata
        number = torch.arange(pairs.shape[1]) % len(index.row)
        assert torch.equal(batch[first][pairs[0]], number)
        assert torch.equal(batch[last][pairs[1]], number)
    else:
        _, source, positive, negative, _ = output.metadata
        number = torch.arange(len(index.row))
        assert torch.equal(batch[first][source], number)
        assert torch.equal(batch[last][positive], number)
        trees = batch[last][negative].view(len(number), -1)
        assert torch.equal(trees, number.view(-1, 1).expand_as(trees))


def test_negatives_are_the_same_under_the_same_seed_and_others_under_another(homogeneous):
    topology, sampling = homogeneous(3), NegativeSampling("binary", 4)
    index = some_edges(topology.edges[EDGE], None)

    def negatives(seed: int) -> list[int]:
        torch.manual_seed(seed)
        output = NumbaSampler(topology, [1]).sample_from_edges(index, sampling)
        return output.node[output.metadata[1]].tolist()

    assert negatives(0) == negatives(0) != negatives(1)


def test_negatives_are_drawn_by_their_weights(homogeneous):
    topology, weight = homogeneous(3), torch.tensor([1.0, 0, 3, 0, 4] + [0.0] * 25)
    sampling = NegativeSampling("triplet", 400, dst_weight=weight)
    index = some_edges(topology.edges[EDGE], None)
    output = NumbaSampler(topology, [0]).sample_from_edges(index, sampling)
    drawn = Counter(output.node[output.metadata[3]].view(-1).tolist())
    assert set(drawn) == {0, 2, 4}
    assert chisquare([drawn[0], drawn[2], drawn[4]], np.array([1, 3, 4]) * 350).pvalue > 0.01


def test_there_is_a_weight_for_every_node(homogeneous):
    topology, sampling = homogeneous(3), NegativeSampling("binary", 1, src_weight=torch.ones(3))
    index = some_edges(topology.edges[EDGE], None)
    with pytest.raises(ValueError, match="neg_sampling: 3 weights for 30 nodes of node"):
        NumbaSampler(topology, [0]).sample_from_edges(index, sampling)


def full(num_nodes: int, missing: int | None) -> Topology:
    """Make a graph where every node has an edge to every node, but for one."""
    row, col = (its.ravel() for its in np.meshgrid(np.arange(num_nodes), np.arange(num_nodes)))
    kept = np.arange(len(row)) != missing
    colptr = np.searchsorted(col[kept], np.arange(num_nodes + 1))
    return Topology({NODE: num_nodes}, {EDGE: Csc(colptr, row[kept].astype(np.int32))})


def test_the_only_negative_there_is_is_found():
    topology = full(40, missing=5 * 40 + 9)  # 9 has no edge to 5
    index = EdgeSamplerInput(None, torch.tensor([9]), torch.tensor([3]))
    sampler = NumbaSampler(topology, [0], strict_negatives=True)
    for sampling in (NegativeSampling("triplet", 2), NegativeSampling("binary", 2)):
        output = sampler.sample_from_edges(index, sampling)
        source, target = pairs_of(output, sampling.mode.value, None, index.row)
        assert (source.tolist(), target.tolist()) == ([9, 9], [5, 5])


@pytest.mark.parametrize("mode", ["binary", "triplet"])
def test_a_graph_without_negatives_says_so(mode):
    sampler = NumbaSampler(full(6, missing=None), [0], strict_negatives=True)
    index = EdgeSamplerInput(None, torch.tensor([2]), torch.tensor([3]))
    with pytest.raises(ValueError, match="there is no negative for source"):
        sampler.sample_from_edges(index, NegativeSampling(mode, 1))


def test_strict_negatives_need_sorted_edges():
    csc = Csc(np.array([0, 2, 2]), np.array([1, 0], np.int32))
    with pytest.raises(ConfigError, match="edges node__to__node must be sorted"):
        NumbaSampler(Topology({NODE: 2}, {EDGE: csc}), [1], strict_negatives=True)


@given(GRAPHS, st.sampled_from([FOLLOWS, BUYS]), AMOUNTS)
def test_negatives_are_there_at_the_time_of_their_edge(heterogeneous, graph, kind, amount):
    topology = heterogeneous(graph)
    for times in topology.time.values():
        times[0] = 0  # somebody always is
    index = some_edges(topology.edges[kind], kind, time=4)
    sampler = NumbaSampler(topology, [2], temporal="uniform", seed=graph)
    output = sampler.sample_from_edges(index, NegativeSampling(*amount))
    source, target = pairs_of(output, amount[0], kind, index.row)
    if amount[0] == "binary":
        assert (topology.time[kind[0]][source] <= 4).all()
    assert (topology.time[kind[2]][target] <= 4).all()


def data_of(topology: Topology) -> Data | HeteroData:
    data = HeteroData()
    for name, number in topology.num_nodes.items():
        data[name].x = torch.arange(number).view(-1, 1)
    for kind, csc in topology.edges.items():
        data[kind].edge_index = torch.stack(ends_of(csc))
    if topology.is_heterogeneous:
        return data
    return Data(data[NODE].x, data[EDGE].edge_index)


@pytest.mark.parametrize("kind", [None, BUYS, LIKE])
@pytest.mark.parametrize("mode", ["binary", "triplet", None])
@pytest.mark.parametrize("disjoint", [False, True])
def test_a_plain_link_neighbor_loader_takes_the_sampler(
    homogeneous, heterogeneous, kind, mode, disjoint
):
    topology = (heterogeneous if kind else homogeneous)(1)
    data, csc = data_of(topology), topology.edges[kind or EDGE]
    row, col = ends_of(csc)
    loader = LinkNeighborLoader(
        data,
        [3, 2],
        edge_label_index=torch.stack([row, col]) if kind is None else (kind, None),
        neg_sampling=None if mode is None else NegativeSampling(mode, 2),
        batch_size=16,
        neighbor_sampler=NumbaSampler(topology, [3, 2], disjoint=disjoint),
    )
    seen = []
    for batch in loader:
        store, first, last = (batch, batch, batch)
        if kind is not None:
            store, first, last = batch[kind], batch[kind[0]], batch[kind[2]]
        assert torch.equal(first.x.view(-1), first.n_id)
        count = len(store.input_id)
        if mode == "triplet":
            sources, targets = first.n_id[first.src_index], last.n_id[last.dst_pos_index]
            assert last.dst_neg_index.shape == (count, 2)
        else:
            pairs = store.edge_label_index[:, :count]
            sources, targets = first.n_id[pairs[0]], last.n_id[pairs[1]]
        assert torch.equal(sources, row[store.input_id])
        assert torch.equal(targets, col[store.input_id])
        if mode == "binary":
            assert store.edge_label.tolist() == [1.0] * count + [0.0] * 2 * count
        seen += store.input_id.tolist()
    assert seen == list(range(len(row)))


def test_a_link_neighbor_loader_with_times_sees_no_later_neighbour(homogeneous):
    topology = homogeneous(1)
    row, col = ends_of(topology.edges[EDGE])
    time = torch.from_numpy(topology.edges[EDGE].time)
    loader = LinkNeighborLoader(
        data_of(topology),
        [-1, -1],
        edge_label_index=torch.stack([row, col]),
        edge_label_time=time,
        time_attr="time",
        neg_sampling=NegativeSampling("binary", 0.5),
        batch_size=10,
        neighbor_sampler=NumbaSampler(topology, [-1, -1], temporal="uniform"),
    )
    for batch in loader:
        limit = time[batch.input_id][batch.batch[batch.edge_index[1]]]
        assert (time[batch.e_id] <= limit).all()
        assert (topology.time[NODE][batch.n_id[batch.edge_index[0]]] <= limit.numpy()).all()


def test_edges_with_times_need_a_temporal_sampler(homogeneous):
    topology = homogeneous(1)
    index = some_edges(topology.edges[EDGE], None, time=3)
    with pytest.raises(ValueError, match="gives seeds a time, but the sampler is not temporal"):
        NumbaSampler(topology, [1]).sample_from_edges(index)


def test_no_edges_make_an_empty_subgraph(homogeneous):
    none = torch.empty(0, dtype=torch.long)
    index = EdgeSamplerInput(none, none, none)
    for disjoint in (False, True):
        sampler = NumbaSampler(homogeneous(1), [2], strict_negatives=True, disjoint=disjoint)
        output = sampler.sample_from_edges(index, NegativeSampling("binary", 2))
        assert len(output.node) == len(output.edge) == 0
