"""A small directed graph and its neighbourhoods, in double precision."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from mtl.loaders.samplers.numba import NumbaSampler

DIM = 8
Neighborhood = Callable[..., Data]


@pytest.fixture(scope="session")
def graph() -> Data:
    """Forty nodes, some without neighbours; directed edges without loops, some of them double."""
    rng = np.random.default_rng(0)
    col = np.sort(rng.integers(36, size=150))
    row = (col + rng.integers(1, 40, size=150)) % 40
    edge_index = torch.from_numpy(np.stack([row, col]))
    return Data(torch.randn(40, DIM, generator=torch.manual_seed(0)).double(), edge_index)


@pytest.fixture(scope="session")
def neighborhood(graph: Data) -> Neighborhood:
    """Sample around seeds: the batch that an encoder reads."""
    row, col = graph.edge_index.numpy()
    colptr = np.searchsorted(col, np.arange(graph.num_nodes + 1))

    def sample(seeds: Sequence[int], num_neighbors: Sequence[int], key: int = 0) -> Data:
        out = NumbaSampler(colptr, row, num_neighbors).sample(np.array(seeds, np.int64), key)
        return Data(
            graph.x[out.node],
            torch.stack([out.row, out.col]),
            num_sampled_nodes=out.num_sampled_nodes,
            num_sampled_edges=out.num_sampled_edges,
            in_degree=torch.from_numpy(np.diff(colptr))[out.node],
        )

    return sample
