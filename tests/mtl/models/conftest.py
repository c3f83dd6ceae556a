"""Small graphs, of one and of several types, and their neighbourhoods, in double precision."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

from mtl.graphs.topology import Csc, Topology
from mtl.loaders.listed import all_listed, listed_by_type
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.models.neighborhood import Edges, Hop

DIM = 8
NODE, EDGE = "node", ("node", "to", "node")
NUM_NODES = {"user": 30, "item": 20, "shop": 6}
NUM_EDGES = {
    ("user", "follows", "user"): 70,
    ("item", "bought_by", "user"): 60,
    ("user", "buys", "item"): 60,
    ("shop", "sells", "item"): 25,
    ("item", "sold_in", "shop"): 9,  # most items have none of it
}
NUM_EDGE_FEATURES = {("user", "follows", "user"): 2, ("shop", "sells", "item"): 3}
Neighborhood = Callable[..., Data]
HeteroNeighborhood = Callable[..., HeteroData]


@pytest.fixture(scope="session")
def graph() -> Data:
    """Forty nodes, some without neighbours; directed edges without loops, some of them double."""
    rng = np.random.default_rng(0)
    col = np.sort(rng.integers(36, size=150))
    row = (col + rng.integers(1, 40, size=150)) % 40
    edge_index = torch.from_numpy(np.stack([row, col]))
    data = Data(torch.randn(40, DIM, generator=torch.manual_seed(0)).double(), edge_index)
    data.edge_attr = torch.from_numpy(rng.standard_normal((150, 3)))
    return data


@pytest.fixture(scope="session")
def whole(graph: Data) -> Hop:
    """What a layer over the whole graph reads."""
    edges = all_edges(graph, graph.num_nodes)
    return Hop({NODE: graph.num_nodes}, {EDGE: edges}, edges.colptr.diff())


@pytest.fixture(scope="session")
def hetero_graph() -> HeteroData:
    """Users, items and shops with features of other widths; some edges have features, too."""
    rng, data = np.random.default_rng(0), HeteroData()
    for width, (kind, count) in enumerate(NUM_NODES.items(), DIM - 1):
        data[kind].x = torch.from_numpy(rng.standard_normal((count, width)))
    for (source, relation, target), count in NUM_EDGES.items():
        col = np.sort(rng.integers(NUM_NODES[target] - 1, size=count))
        row = rng.integers(NUM_NODES[source], size=count)
        data[source, relation, target].edge_index = torch.from_numpy(np.stack([row, col]))
    for kind, width in NUM_EDGE_FEATURES.items():
        features = rng.standard_normal((NUM_EDGES[kind], width))
        data[kind].edge_attr = torch.from_numpy(features)
    return data


@pytest.fixture(scope="session")
def hetero_whole(hetero_graph: HeteroData) -> Hop:
    """What a layer over the whole graph of several types reads."""
    edges = {kind: all_edges(hetero_graph[kind], NUM_NODES[kind[2]]) for kind in NUM_EDGES}
    return Hop(NUM_NODES, edges)


@pytest.fixture(scope="session")
def neighborhood(graph: Data) -> Neighborhood:
    """Sample around seeds: the batch that an encoder reads."""
    csc = csc_of(graph.edge_index, graph.num_nodes)
    topology = Topology({NODE: graph.num_nodes}, {EDGE: csc})

    def sample(seeds: Sequence[int], num_neighbors: Sequence[int], key: int = 0) -> Data:
        sampler = NumbaSampler(topology, num_neighbors)
        out = sampler.sample({NODE: np.array(seeds, np.int64)}, key)
        batch = Data(
            graph.x[out.node],
            torch.stack([out.row, out.col]),
            graph.edge_attr[out.edge],
            num_sampled_nodes=out.num_sampled_nodes,
            num_sampled_edges=out.num_sampled_edges,
            in_degree=torch.from_numpy(np.diff(csc.colptr))[out.node],
            node_type=NODE,
            edge_type=EDGE,
        )
        listed = all_listed(out.colptr, out.num_sampled_nodes)
        batch.listed, batch.colptr, batch.num_listed = listed
        return batch

    return sample


@pytest.fixture(scope="session")
def hetero_neighborhood(hetero_graph: HeteroData) -> HeteroNeighborhood:
    """Sample around seeds of several types."""
    edges = {kind: csc_of(hetero_graph[kind].edge_index, NUM_NODES[kind[2]]) for kind in NUM_EDGES}
    topology = Topology(NUM_NODES, edges)

    def sample(
        seeds: Mapping[str, Sequence[int]],
        num_neighbors: Sequence[int],
        key: int = 0,
        *,
        disjoint: bool = False,
    ) -> HeteroData:
        sampler = NumbaSampler(topology, num_neighbors, disjoint=disjoint)
        out = sampler.sample({k: np.array(s, np.int64) for k, s in seeds.items()}, key)
        batch = HeteroData()
        for kind, nodes in out.node.items():
            batch[kind].x = hetero_graph[kind].x[nodes]
            batch[kind].num_sampled_nodes = out.num_sampled_nodes[kind]
        for kind, listed in listed_by_type(out.colptr, out.num_sampled_nodes).items():
            store = batch[kind]
            store.edge_index = torch.stack([out.row[kind], out.col[kind]])
            if kind in NUM_EDGE_FEATURES:
                store.edge_attr = hetero_graph[kind].edge_attr[out.edge[kind]]
            store.num_sampled_edges = out.num_sampled_edges[kind]
            store.listed, store.colptr, store.num_listed = listed
        return batch

    return sample


def csc_of(edge_index: torch.Tensor, num_nodes: int) -> Csc:
    """Return edges that are sorted by destination as compressed columns."""
    row, col = edge_index.numpy()
    return Csc(np.searchsorted(col, np.arange(num_nodes + 1)), row.astype(np.int32))


def all_edges(store: Any, num_destinations: int) -> Edges:
    """Return edges that are sorted by destination, each destination listed."""
    row, col = store.edge_index
    colptr = torch.searchsorted(col.contiguous(), torch.arange(num_destinations + 1))
    return Edges(colptr, row, None, num_destinations, getattr(store, "edge_attr", None))
