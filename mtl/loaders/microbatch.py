"""stream: one microbatch by its number: one sampling call serves the seeds of all tasks."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, SamplerOutput

from mtl.graphs.store import GraphStore
from mtl.loaders.gather import gather
from mtl.loaders.seeds import SeedOrder, Seeds
from mtl.tasks.bound import BoundTask

EMPTY = -1
"""Number of a microbatch without seeds."""


class MicrobatchLoader(NeighborLoader):
    """PyG's loader, indexed by the number of a microbatch.

    A batch carries, beside what PyG puts there, `rows[task]` (which seeds of its node type the task
    reads), `target[task]` and `num_targets[task]` (how many losses the whole step adds up, over all
    of its microbatches); for the edges of each type `colptr`, `listed` and `num_listed` (the edges
    of destination `listed[i]` are `colptr[i]` to `colptr[i + 1]`; the first `num_listed[h]` are
    those within h hops); and where there is one type of edges `in_degree` in the whole graph.

    Args:
        store: the graph.
        tasks: what the seeds are labelled with.
        sampler: draws the neighbours.
        order: which seeds stand in which microbatch.
        split: train, val or test.
        dtype: bfloat16 rounds the features to it; else they come as they are stored.
    """

    def __init__(
        self,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        sampler: BaseSampler,
        order: SeedOrder,
        split: str,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.tasks, self.order, self.split, self.dtype = tasks, order, split, dtype
        self._store = store
        self._topology = store.topology()
        self._num_targets_of = lru_cache(maxsize=16)(self._count)  # one count for all of a step
        some = torch.arange(1)  # microbatches are asked for by number, without an end
        super().__init__(
            _without_features(store.data()),
            sampler.num_neighbors,
            input_nodes=(store.node_types[0], some) if store.is_heterogeneous else some,
            neighbor_sampler=sampler,
            filter_per_worker=True,
        )

    def collate_fn(self, index: list[int | None]) -> Data | HeteroData:
        """Make the microbatch of that number; None makes an empty one."""
        (number,) = index
        seeds = self._seeds(number)
        output = self.node_sampler.sample(seeds, key=0 if number is None else number)
        output.metadata = (torch.from_numpy(next(iter(seeds.values()))), None)
        batch: Data | HeteroData = self.filter_fn(output)
        self._gather(batch)
        for store, colptr in self._edge_stores(batch, output):
            store["listed"], store["colptr"], store["num_listed"] = colptr
        self._describe(batch, seeds)
        self._label(batch, seeds, number)
        return batch

    def _gather(self, batch: Data | HeteroData) -> None:
        """Add the features of the nodes."""
        parts = batch.node_items() if isinstance(batch, HeteroData) else [(None, batch)]
        for kind, part in parts:
            features = self._store.features(kind or self._store.node_types[0])
            if features is not None:
                part["x"] = gather(features, part["n_id"].numpy(), self.dtype)

    def _describe(self, batch: Data | HeteroData, seeds: Seeds) -> None:
        """Name the types of a homogeneous batch and its degrees, or the seeds of each type."""
        if isinstance(batch, HeteroData):
            for node_type in batch.node_types:
                batch[node_type].batch_size = len(seeds.get(node_type, ()))
            return
        ((batch.edge_type, csc),) = self._topology.edges.items()
        batch.node_type = batch.edge_type[0]
        nodes = batch.n_id.numpy()
        batch.in_degree = torch.from_numpy(csc.colptr[nodes + 1] - csc.colptr[nodes])

    def _label(self, batch: Data | HeteroData, seeds: Seeds, number: int | None) -> None:
        """Say which seeds each task reads, and what it wants to see there."""
        batch.number = EMPTY if number is None else number
        tasks = {name: (task, seeds[task.node_type]) for name, task in self.tasks.items()}
        rows = {name: task.rows(its, self.split) for name, (task, its) in tasks.items()}
        batch.rows = {name: torch.from_numpy(r) for name, r in rows.items()}
        batch.target = {name: task.targets(its[rows[name]]) for name, (task, its) in tasks.items()}
        batch.num_targets = self._num_targets(number)

    def _seeds(self, number: int | None) -> Seeds:
        if number is None:
            return {kind: np.empty(0, np.int64) for kind in self.order.groups}
        return self.order.microbatch(number)

    def _edge_stores(
        self, batch: Data | HeteroData, output: Any
    ) -> Iterator[tuple[Any, tuple[Tensor, Tensor, list[int]]]]:
        """Yield the edges of each type and which destinations have some."""
        if isinstance(output, SamplerOutput):
            yield batch, listed_destinations(output.colptr, output.num_sampled_nodes, compact=False)
            return
        assert isinstance(output, HeteroSamplerOutput)
        for kind, colptr in output.colptr.items():
            yield (
                batch[kind],
                listed_destinations(colptr, output.num_sampled_nodes[kind[2]], compact=True),
            )

    def _num_targets(self, number: int | None) -> dict[str, int]:
        """Count without asking other processes: all know the order and all labels."""
        if number is None:
            return dict.fromkeys(self.tasks, 0)
        return self._num_targets_of(number // self.order.microbatches_per_step)

    def _count(self, step: int) -> dict[str, int]:
        parts = self.order.step(step)
        return {
            name: sum(num_targets(task, seeds[task.node_type], self.split) for seeds in parts)
            for name, task in self.tasks.items()
        }


def _without_features(data: Data | HeteroData) -> Data | HeteroData:
    """Leave the features to `gather`; PyG would select them with as many threads as the model."""
    for store in data.node_stores:
        store.pop("x", None)
    return data


def num_targets(task: BoundTask, seeds: Int[np.ndarray, " seeds"], split: str) -> int:
    """Return how many losses a task adds up over these seeds."""
    return task.task.count(task.label.values[seeds[task.rows(seeds, split)]])


def listed_destinations(
    colptr: Tensor, num_nodes: list[int], *, compact: bool
) -> tuple[Tensor, Tensor, list[int]]:
    """Return `listed`, `colptr` and `num_listed`; compact leaves out destinations without edges."""
    pointer = colptr.numpy()
    within = np.cumsum([0, *num_nodes[:-1]])
    if not compact:
        return torch.arange(len(pointer) - 1), colptr, within.tolist()
    listed = np.flatnonzero(np.diff(pointer))
    kept = np.append(pointer[listed], pointer[-1])
    num_listed = np.searchsorted(listed, within).tolist()
    return torch.from_numpy(listed), torch.from_numpy(kept), num_listed
