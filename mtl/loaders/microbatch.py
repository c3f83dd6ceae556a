"""stream: one microbatch by its number: one sampling call serves the seeds of all tasks."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import SamplerOutput

from mtl.graphs.schema import EdgeType
from mtl.graphs.store import GraphStore
from mtl.loaders import Where
from mtl.loaders.degrees import VisibleDegrees
from mtl.loaders.gather import gather
from mtl.loaders.listed import Listed, all_listed, listed_by_type
from mtl.loaders.request import Request
from mtl.loaders.residence import OnHost, residences
from mtl.loaders.samplers._random import begin_state
from mtl.loaders.samplers.base import Sampler
from mtl.loaders.seeds import SeedOrder, Seeds
from mtl.loaders.sharded import ShardedFeatures
from mtl.loaders.transfer import moved
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

    All of it is born where the sampler draws, or on its way there from the host.

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
        features: of the nodes, by type, on the host, instead of the graph's.
        where: the graph's own features stay, see `Loader.features`.
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
        where: Where = "host",
    ) -> None:
        self.tasks, self.order, self.split, self.dtype = tasks, order, split, dtype
        self._store, self._seed_time, self._device = store, seed_time, sampler.device
        how = dtype, sampler.device, where, sampler.exchange
        self._features = (
            residences(store, store.node_types, *how)
            if features is None
            else {kind: OnHost(its, dtype) for kind, its in features.items()}
        )
        self._edge_features = residences(store, store.edge_types if edge_features else (), *how)
        self.shards: ShardedFeatures | None = None
        """Who has the features, where this process does not hold all of them."""
        if features is None and store.shards is not None:
            assert isinstance(store.shards, ShardedFeatures)
            self.shards = store.shards
        self._topology = store.topology()
        if not store.is_heterogeneous:
            ((kind, csc),) = self._topology.edges.items()
            hidden = sampler.hidden.get(kind)
            degrees = partial(sampler.degrees, kind)
            self._degrees = VisibleDegrees(csc, hidden, degrees, sampler.device)
        self.num_targets_of = lru_cache(maxsize=16)(self._count)
        """How many losses of each task a step adds up, counted once for all of its microbatches."""
        some = torch.arange(1)  # microbatches are asked for by number, without an end
        super().__init__(
            _without_features(store.data(), sampler.device),
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
        self._list(batch, output)
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
        for kind, features in self._features.items():
            part = batch[kind] if hetero else batch
            if self.shards is None:
                part["x"] = features.gather(part["n_id"])
            else:  # of the right shape and type, until the others have sent theirs
                nothing = features.gather(torch.zeros(1, dtype=torch.long))
                part["x"] = nothing.expand(len(part["n_id"]), -1)
        for edge_type, features in self._edge_features.items():
            part = batch[edge_type] if hetero else batch
            part["edge_attr"] = features.gather(part["e_id"])

    def _mask(self, batch: Data | HeteroData, request: Request) -> None:
        """Wipe out the features that some task has to tell from others."""
        masked: dict[str, list[np.ndarray]] = {}
        for name, task in self.tasks.items():
            if task.masks:
                masked.setdefault(task.node_types[0], []).append(request.rows(name).numpy())
        for kind, rows in masked.items():
            part = batch[kind] if isinstance(batch, HeteroData) else batch
            part["masked"] = self._moved(torch.from_numpy(np.unique(np.concatenate(rows))))
            if self.shards is None:
                part["x"].index_fill_(0, part["masked"], 0)

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
        batch.input_id = batch.n_id[: batch.batch_size]
        edges = hidden.get(batch.edge_type, np.empty(0, np.int64))
        batch.in_degree = self._degrees.of(batch.n_id, edges)

    def _label(self, batch: Data | HeteroData, request: Request, number: int | None) -> None:
        """Say which nodes each task reads, and what it wants to see there."""
        batch.number = EMPTY if number is None else number
        batch.rows = {name: self._moved(request.rows(name)) for name in self.tasks}
        batch.target = {
            name: self._moved(task.targets(request.read[name], training=self.split == "train"))
            for name, task in self.tasks.items()
        }
        batch.num_targets = self._num_targets(number)
        extra = {
            name: gather(features, request.read[name], self.dtype)
            for name, task in self.tasks.items()
            if (features := edge_features_of(self._store, task)) is not None
        } | {n: request.graph_ptr(n) for n, t in self.tasks.items() if t.graph_ptr is not None}
        batch.extra = {name: self._moved(its) for name, its in extra.items()}

    def _moved(self, tensor: Tensor) -> Tensor:
        """Have what the host has made fetched by the device."""
        return moved(tensor, self._device)

    def _seeds(self, number: int | None) -> Seeds:
        if number is None:
            return {kind: np.empty(0, np.int64) for kind in self.order.groups}
        return self.order.microbatch(number)

    def _list(self, batch: Data | HeteroData, output: Any) -> None:
        """Say which destinations have edges of each type, and where those begin."""
        parts: list[tuple[Any, Listed]]
        if isinstance(output, SamplerOutput):
            parts = [(batch, all_listed(output.colptr, output.num_sampled_nodes))]
        else:
            listed = listed_by_type(output.colptr, output.num_sampled_nodes)
            parts = [(batch[kind], its) for kind, its in listed.items()]
        for part, its in parts:
            part["listed"], part["colptr"], part["num_listed"] = its

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


def _without_features(data: Data | HeteroData, device: torch.device) -> Data | HeteroData:
    """Leave the features to `gather`; PyG would select them with as many threads as the model.

    It puts the edges of a batch where the graph's are.
    """
    for store in data.stores:
        for name in ("x", "edge_attr"):
            store.pop(name, None)
        if "edge_index" in store:
            store.edge_index = torch.zeros(1, dtype=torch.long, device=device).expand(
                2, store.num_edges
            )
    return data


def num_targets(task: BoundTask, seeds: Nodes, split: str) -> float:
    """Return how many losses a task adds up over these seeds."""
    return task.count(seeds[task.rows(seeds, split)])


def edge_features_of(store: GraphStore, task: BoundTask) -> Tensor | None:
    """Return the features of the edges that a task labels; who predicts links has to do without."""
    if isinstance(task.owner, str) or isinstance(task, BoundLinks):
        return None
    return store.edge_features(task.owner)
