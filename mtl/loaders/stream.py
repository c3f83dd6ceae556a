"""stream: microbatches by number, made ahead of time by threads."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.loaders.seeds import SeedOrder, Seeds
from mtl.tasks.bound import SPLITS, BoundTask

EMPTY = -1
"""Number of a microbatch without seeds."""


class MicrobatchLoader(NeighborLoader):
    """PyG's loader, indexed by the number of a microbatch.

    One sampling call serves the seeds of all tasks. A batch carries, beside what PyG puts there,
    `rows[task]` (which seeds the task reads), `target[task]` and `num_targets[task]` (how many
    losses the whole step adds up, over all of its microbatches).

    Args:
        store: the graph.
        tasks: what the seeds are labelled with.
        sampler: draws the neighbours.
        order: which seeds stand in which microbatch.
        split: train, val or test.
    """

    def __init__(
        self,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        sampler: NumbaSampler,
        order: SeedOrder,
        split: str,
    ) -> None:
        self.tasks, self.order, self.split = tasks, order, split
        self._colptr, _ = store.csc(store.edge_types[0])
        self._num_targets_of = lru_cache(maxsize=16)(self._count)  # one count for all of a step
        super().__init__(
            store.data(),
            sampler.num_neighbors,
            input_nodes=torch.arange(1),  # microbatches are asked for by number, without an end
            neighbor_sampler=sampler,
            filter_per_worker=True,
        )

    def collate_fn(self, index: list[int | None]) -> Data:
        """Make the microbatch of that number; None makes an empty one."""
        (number,) = index
        seeds = self._seeds(number)
        output = self.node_sampler.sample(seeds, key=0 if number is None else number)
        output.metadata = (torch.from_numpy(seeds), None)
        batch: Data = self.filter_fn(output)
        batch.number = EMPTY if number is None else number
        batch.in_degree = self._in_degree(batch.n_id.numpy())
        rows = {name: task.rows(seeds, self.split) for name, task in self.tasks.items()}
        batch.rows = {name: torch.from_numpy(r) for name, r in rows.items()}
        batch.target = {name: task.targets(seeds[rows[name]]) for name, task in self.tasks.items()}
        batch.num_targets = self._num_targets(number)
        return batch

    def _seeds(self, number: int | None) -> Int[np.ndarray, " seeds"]:
        if number is None:
            return np.empty(0, np.int64)
        (seeds,) = self.order.microbatch(number).values()
        return seeds

    def _in_degree(self, nodes: Int[np.ndarray, " nodes"]) -> torch.Tensor:
        """Return the number of in-neighbours in the whole graph."""
        return torch.from_numpy(self._colptr[nodes + 1] - self._colptr[nodes])

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


class Stream:
    """Microbatches in the order in which they are asked for, made ahead by threads.

    Threads, not worker processes: sampler and gathers release the GIL, and nothing is copied
    through shared memory.

    Args:
        loader: makes a microbatch of a number.
        num_threads: threads that make them.
        prefetch: microbatches made ahead of the one in use.
    """

    def __init__(self, loader: MicrobatchLoader, num_threads: int = 1, prefetch: int = 4) -> None:
        self.loader, self.order = loader, loader.order
        self._num_threads, self._prefetch = num_threads, prefetch

    def microbatches(self, numbers: Iterable[int | None]) -> Iterator[Data]:
        """Yield the microbatches of these numbers, in this order."""
        with ThreadPoolExecutor(self._num_threads, thread_name_prefix="loader") as pool:
            ahead: deque[Future[Any]] = deque()
            try:
                for number in numbers:
                    ahead.append(pool.submit(self.loader, [number]))
                    if len(ahead) > self._prefetch:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def steps(
        self, first: int, last: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[int, Iterator[Data]]]:
        """Yield `(step, microbatches of this process)` for the steps `first` to `last` - 1.

        Take all microbatches of a step before the next step; the last one has `is_last` set.
        """
        shares = {step: self.order.share(step, rank, world_size) for step in range(first, last)}
        batches = self.microbatches(number for share in shares.values() for number in share)
        for step, share in shares.items():
            yield step, _mark_last(islice(batches, len(share)), len(share))


def _mark_last(batches: Iterable[Data], number: int) -> Iterator[Data]:
    for i, batch in enumerate(batches, 1):
        batch.is_last = i == number
        yield batch


def num_targets(task: BoundTask, seeds: Int[np.ndarray, " seeds"], split: str) -> int:
    """Return how many losses a task adds up over these seeds."""
    return task.task.count(task.label.values[seeds[task.rows(seeds, split)]])


def build_stream(
    options: Loader,
    store: GraphStore,
    tasks: Mapping[str, BoundTask],
    *,
    split: str = "train",
    num_hops: int | None = None,
    world_size: int = 1,
    seed: int = 0,
) -> Stream:
    """Make the stream of one split of a graph.

    Args:
        options: the `loader:` section.
        store: the graph.
        tasks: which seeds there are: the union of what they label.
        split: train is shuffled every epoch, val and test keep their order.
        num_hops: hops to sample; default: as many as `num_neighbors` has.
        world_size: processes, for the default of `global_batch_size` alone.
        seed: the order and the neighbours follow from it.

    Raises:
        ConfigError: the graph has several node or edge types.
    """
    if len(store.node_types) != 1 or len(store.edge_types) != 1:
        raise ConfigError(
            f"graph: {store.name} has the node types {', '.join(store.node_types)} and "
            f"{len(store.edge_types)} edge types; training takes graphs with one of each so far"
        )
    train = split == "train"
    global_batch_size = options.global_batch_size or options.batch_size * world_size
    order = SeedOrder(
        _groups(tasks, split),
        batch_size=options.batch_size,
        global_batch_size=global_batch_size if train else options.batch_size,
        seed=seed,
        shuffle=train,
    )
    colptr, row = store.csc(store.edge_types[0])
    words = np.random.SeedSequence([seed, SPLITS[split]]).generate_state(1, np.uint64)
    sampler = NumbaSampler(colptr, row, options.num_neighbors[:num_hops], int(words[0]))
    loader = MicrobatchLoader(store, tasks, sampler, order, split)
    return Stream(loader, options.num_threads, options.prefetch)


def _groups(tasks: Mapping[str, BoundTask], split: str) -> Seeds:
    """Return the union of the labelled seeds of each node type."""
    types = {task.node_type for task in tasks.values()}
    return {
        kind: np.unique(
            np.concatenate([t.seeds(split) for t in tasks.values() if t.node_type == kind])
        )
        for kind in types
    }
