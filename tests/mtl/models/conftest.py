"""Small graphs, of one and of several types, and their neighbourhoods, in double precision."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

from mtl.graphs.topology import Csc, Topology
from mtl.loaders.microbatch import listed_destinations
from mtl.loaders.samplers.numba import NumbaSampler

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
Neighborhood = Callable[..., Data]
HeteroNeighborhood = Callable[..., HeteroData]


@pytest.fixture(scope="session")
def graph() -> Data:
    """Forty nodes, some without neighbours; directed edges without loops, some of them double."""
    rng = np.random.default_rng(0)
    col = np.sort(rng.integers(36, size=150))
    row = (col + rng.integers(1, 40, size=150)) % 40
    edge_index = torch.from_numpy(np.stack([row, col]))
    return Data(torch.randn(40, DIM, generator=torch.manual_seed(0)).double(), edge_index)


@pytest.fixture(scope="session")
def hetero_graph() -> HeteroData:
    """Users, items and shops with features of other widths."""
    rng, data = np.random.default_rng(0), HeteroData()
    for width, (kind, count) in enumerate(NUM_NODES.items(), DIM - 1):
        data[kind].x = torch.from_numpy(rng.standard_normal((count, width)))
    for (source, relation, target), count in NUM_EDGES.items():
        col = np.sort(rng.integers(NUM_NODES[target] - 1, size=count))
        row = rng.integers(NUM_NODES[source], size=count)
        data[source, relation, target].edge_index = torch.from_numpy(np.stack([row, col]))
    return data


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
            num_sampled_nodes=out.num_sampled_nodes,
            num_sampled_edges=out.num_sampled_edges,
            in_degree=torch.from_numpy(np.diff(csc.colptr))[out.node],
            node_type=NODE,
            edge_type=EDGE,
        )
        listed = listed_destinations(out.colptr, out.num_sampled_nodes, compact=False)
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
        for kind, colptr in out.colptr.items():
            store, reached = batch[kind], out.num_sampled_nodes[kind[2]]
            store.edge_index = torch.stack([out.row[kind], out.col[kind]])
            store.num_sampled_edges = out.num_sampled_edges[kind]
            listed = listed_destinations(colptr, reached, compact=True)
            store.listed, store.colptr, store.num_listed = listed
        return batch

    return sample


def csc_of(edge_index: torch.Tensor, num_nodes: int) -> Csc:
    """Return edges that are sorted by destination as compressed columns."""
    row, col = edge_index.numpy()
    return Csc(np.searchsorted(col, np.arange(num_nodes + 1)), row.astype(np.int32))
