"""stream: one microbatch by its number: one sampling call serves the seeds of all tasks."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from mtl.graphs.schema import EdgeType
from mtl.graphs.store import GraphStore
from mtl.loaders.degrees import VisibleDegrees
from mtl.loaders.gather import gather
from mtl.loaders.request import Request
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers.base import Sampler
from mtl.loaders.seeds import SeedOrder, Seeds
from mtl.loaders.sharded import ShardedFeatures
from mtl.loaders.wanted import Nodes
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

EMPTY = -1
"""Number of a microbatch without seeds."""


class MicrobatchLoader(NeighborLoader):
    """PyG's loader, indexed by the number of a microbatch.

    A batch carries, beside what PyG puts there, for each task:

    - `rows[task]`: what it reads among the first nodes of their type: nodes [seeds], both ends of
      edges [2, seeds], those of an edge, its negatives and candidates [2, seeds, pairs], or the
      nodes of graphs, one graph after the other [nodes];
    - `target[task]`, and `num_targets[task]`: how many losses the whole step adds up, over all of
      its microbatches;
    - `extra[task]`: features of the edges that it scores, where they have some; or where the rows
      of each graph begin, and the last end.

    Node types that a task masks have `masked`: which nodes the model must not see; their features
    are 0 here.

    For the edges of each type it has `colptr`, `listed` and `num_listed` (the edges of destination
    `listed[i]` are `colptr[i]` to `colptr[i + 1]`; the first `num_listed[h]` are those within h
    hops); and where there is one type of edges `in_degree`: in the whole graph, less the edges
    that are hidden.

    Args:
        store: the graph.
        tasks: what the seeds are labelled with.
        sampler: draws the neighbours.
        order: which seeds stand in which microbatch.
        split: train, val or test.
        dtype: bfloat16 rounds the features to it; else they come as they are stored.
        edge_features: whether the encoder reads those of edges.
        seed_time: as of when all seeds are looked at, where sampling is temporal; default: the time
            of each node or edge.
        features: of the nodes, by type, instead of the graph's.
    """

    def __init__(
        self,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        sampler: Sampler,
        order: SeedOrder,
        split: str,
        dtype: torch.dtype | None = None,
        *,
        edge_features: bool = False,
        seed_time: int | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.tasks, self.order, self.split, self.dtype = tasks, order, split, dtype
        self._store, self._edge_features, self._seed_time = store, edge_features, seed_time
        self._features = features_of(store) if features is None else features
        self.shards: ShardedFeatures | None = None
        """Who has the features, where this process does not hold all of them."""
        if features is None and store.shards is not None:
            assert isinstance(store.shards, ShardedFeatures)
            self.shards = store.shards
        self._topology = store.topology()
        if not store.is_heterogeneous:
            ((kind, csc),) = self._topology.edges.items()
            self._degrees = VisibleDegrees(csc, sampler.hidden.get(kind))
        self.num_targets_of = lru_cache(maxsize=16)(self._count)
        """How many losses of each task a step adds up, counted once for all of its microbatches."""
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
        key = 0 if number is None else number
        request = self._request(self._seeds(number), key)
        nodes, hidden = request.nodes, request.hidden()
        output = self.node_sampler.sample(nodes, key, exclude=hidden, time=request.times)
        output.metadata = (torch.from_numpy(next(iter(nodes.values()))), None)
        batch: Data | HeteroData = self.filter_fn(output)
        self._gather(batch)
        self._mask(batch, request)
        for store, colptr in self._edge_stores(batch, output):
            store["listed"], store["colptr"], store["num_listed"] = colptr
        self._describe(batch, nodes, hidden)
        self._label(batch, request, number)
        return batch

    def reads(self, number: int | None) -> dict[str, Nodes]:
        """Return the seeds of a microbatch that each task reads."""
        seeds = self._seeds(number)
        return {
            name: seeds[task.group][task.rows(seeds[task.group], self.split)]
            for name, task in self.tasks.items()
        }

    def _request(self, seeds: Seeds, key: int) -> Request:
        sampler = self.node_sampler
        return Request(
            self._topology,
            self.tasks,
            seeds,
            self.split,
            int(begin_state(sampler.seed, key)[0]),
            temporal=sampler.temporal is not None,
            seed_time=self._seed_time,
        )

    def _gather(self, batch: Data | HeteroData) -> None:
        """Add the features of the nodes, and of the edges where the encoder reads them."""
        hetero = isinstance(batch, HeteroData)
        for kind in self._store.node_types:
            part = batch[kind] if hetero else batch
            if kind not in self._features:
                continue
            if self.shards is None:
                part["x"] = gather(self._features[kind], part["n_id"].numpy(), self.dtype)
            else:  # of the right shape and type, until the others have sent theirs
                nothing = gather(self._features[kind][:1], np.zeros(1, np.int64), self.dtype)
                part["x"] = nothing.expand(len(part["n_id"]), -1)
        for edge_type in self._store.edge_types if self._edge_features else ():
            part = batch[edge_type] if hetero else batch
            features = self._store.edge_features(edge_type)
            if features is not None:
                part["edge_attr"] = gather(features, part["e_id"].numpy(), self.dtype)

    def _mask(self, batch: Data | HeteroData, request: Request) -> None:
        """Wipe out the features that some task has to tell from others."""
        masked: dict[str, list[np.ndarray]] = {}
        for name, task in self.tasks.items():
            if task.masks:
                masked.setdefault(task.node_types[0], []).append(request.rows(name).numpy())
        for kind, rows in masked.items():
            part = batch[kind] if isinstance(batch, HeteroData) else batch
            part["masked"] = torch.from_numpy(np.unique(np.concatenate(rows)))
            if self.shards is None:
                part["x"][part["masked"]] = 0

    def _describe(
        self, batch: Data | HeteroData, nodes: Seeds, hidden: Mapping[EdgeType, np.ndarray]
    ) -> None:
        """Name the types of a homogeneous batch and its degrees, or the seeds of each type."""
        if isinstance(batch, HeteroData):
            for node_type, store in batch.node_items():
                store.batch_size = len(nodes.get(node_type, ()))
                store.input_id = store.n_id[: store.batch_size]
            return
        (batch.edge_type,) = self._topology.edges
        batch.node_type = batch.edge_type[0]
        edges = hidden.get(batch.edge_type, np.empty(0, np.int64))
        batch.in_degree = torch.from_numpy(self._degrees.of(batch.n_id.numpy(), edges))

    def _label(self, batch: Data | HeteroData, request: Request, number: int | None) -> None:
        """Say which nodes each task reads, and what it wants to see there."""
        batch.number = EMPTY if number is None else number
        batch.rows = {name: request.rows(name) for name in self.tasks}
        batch.target = {
            name: task.targets(request.read[name], training=self.split == "train")
            for name, task in self.tasks.items()
        }
        batch.num_targets = self._num_targets(number)
        batch.extra = {
            name: gather(features, request.read[name], self.dtype)
            for name, task in self.tasks.items()
            if (features := edge_features_of(self._store, task)) is not None
        } | {n: request.graph_ptr(n) for n, t in self.tasks.items() if t.graph_ptr is not None}

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

    def _num_targets(self, number: int | None) -> dict[str, float]:
        """Count without asking other processes: all know the order and all labels."""
        if number is None:
            return dict.fromkeys(self.tasks, 0)
        return self.num_targets_of(number // self.order.microbatches_per_step)

    def _count(self, step: int) -> dict[str, float]:
        parts = self.order.step(step)
        return {
            name: sum(num_targets(task, seeds[task.group], self.split) for seeds in parts)
            for name, task in self.tasks.items()
        }


def features_of(store: GraphStore) -> dict[str, Tensor]:
    """Return the features of the nodes of those types that have some."""
    found = {kind: store.features(kind) for kind in store.node_types}
    return {kind: features for kind, features in found.items() if features is not None}


def _without_features(data: Data | HeteroData) -> Data | HeteroData:
    """Leave the features to `gather`; PyG would select them with as many threads as the model."""
    for store in data.stores:
        for name in ("x", "edge_attr"):
            store.pop(name, None)
    return data


def num_targets(task: BoundTask, seeds: Nodes, split: str) -> float:
    """Return how many losses a task adds up over these seeds."""
    return task.count(seeds[task.rows(seeds, split)])


def edge_features_of(store: GraphStore, task: BoundTask) -> Tensor | None:
    """Return the features of the edges that a task labels; who predicts links has to do without."""
    if isinstance(task.owner, str) or isinstance(task, BoundLinks):
        return None
    return store.edge_features(task.owner)


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
