"""sampler: PyG's own NeighborSampler, over pyg-lib or torch-sparse."""

from typing import ClassVar

from mtl.errors import ConfigError
from mtl.graphs.topology import Topology
from mtl.loaders.samplers.base import NumNeighbors, Sampler, Seeds, Subgraph


class PyGSampler(Sampler):
    """Draw neighbours with pyg-lib or torch-sparse."""

    threads_allowed: ClassVar[bool] = False

    def __init__(self, topology: Topology, num_neighbors: NumNeighbors, *, seed: int = 0) -> None:
        super().__init__(topology, num_neighbors, seed=seed)
        raise ConfigError("loader.backend: pyg needs pyg-lib or torch-sparse")

    def sample(self, seeds: Seeds, key: int) -> Subgraph:
        """Return the subgraph around seeds."""
        raise NotImplementedError
