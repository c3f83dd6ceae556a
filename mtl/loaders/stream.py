"""stream: microbatches in the order of the data, made ahead of time by threads."""

import os
import threading
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from mtl.collective import Exchange
from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits
from mtl.loaders import Loader
from mtl.loaders.lane import Lane, Made
from mtl.loaders.microbatch import MicrobatchLoader
from mtl.loaders.samplers.cuda import CudaSampler
from mtl.loaders.sampling import check_times, fan_outs_of, sampler_of
from mtl.loaders.seeds import SeedOrder, Seeds
from mtl.plugin import nearest
from mtl.tasks.bound import SPLITS, BoundTask

Batch: TypeAlias = Data | HeteroData
LOW_PRIORITY = 10
CPU = torch.device("cpu")


class Stream:
    """Microbatches in the order in which they are asked for, made ahead by threads.

    Threads, not worker processes: sampler and gathers release the GIL, and nothing is copied
    through shared memory.

    Args:
        loader: makes a microbatch of a number.
        num_threads: threads that make them; 0 makes each when it is taken.
        prefetch: microbatches made ahead of the one in use, at most.
        prefetch_bytes: memory of those, by the size of the largest so far; one is always made.
        device: where batches are wanted: those that are made ahead are there.
    """

    def __init__(
        self,
        loader: MicrobatchLoader,
        num_threads: int = 1,
        prefetch: int = 4,
        prefetch_bytes: int = 1 << 30,
        device: torch.device = CPU,
    ) -> None:
        self.loader, self.order = loader, loader.order
        self._lane = Lane(loader, CPU if loader.shards else device)
        self._num_threads, self._prefetch = num_threads, prefetch
        self._prefetch_bytes, self._largest = prefetch_bytes, 0

    def microbatches(self, numbers: Iterable[int | None]) -> Generator[Batch]:
        """Yield the microbatches of these numbers, in this order."""
        made, shards = self._made(numbers), self.loader.shards
        return made if shards is None else shards.join(made, self.loader.dtype)

    def _made(self, numbers: Iterable[int | None]) -> Generator[Batch]:
        """Yield the microbatches, made here."""
        if not self._num_threads:
            yield from (self.loader([number]) for number in numbers)
            return
        torch.get_num_threads()  # this thread's own number is settled before loaders set theirs
        with ThreadPoolExecutor(
            self._num_threads, thread_name_prefix="loader", initializer=_alone
        ) as pool:
            ahead: deque[Future[Made]] = deque()
            try:
                for number in numbers:
                    while len(ahead) > self._depth:
                        yield self._take(ahead)
                    ahead.append(pool.submit(self._lane.make, number))
                while ahead:
                    yield self._take(ahead)
            finally:
                for future in ahead:
                    future.cancel()

    def steps(
        self, first: int, last: int, rank: int = 0, world_size: int = 1
    ) -> Generator[tuple[int, Iterator[Batch]]]:
        """Yield `(step, microbatches of this process)` for the steps `first` to `last` - 1.

        Take all microbatches of a step before the next step; the last one has `is_last` set.
        """
        numbers = (n for s in range(first, last) for n in self.order.share(s, rank, world_size))
        batches = self.microbatches(numbers)
        try:
            for step in range(first, last):
                size = len(self.order.share(step, rank, world_size))
                yield step, _mark_last(islice(batches, size), size)
        except GeneratorExit:  # closed before its end: nobody takes the batches made ahead
            batches.close()
            raise

    @property
    def _depth(self) -> int:
        """Microbatches that may wait, beside the one that is made or taken next.

        One, until the first has shown how large they are.
        """
        if not self._largest:
            return 1
        return max(min(self._prefetch, self._prefetch_bytes // self._largest), 1)

    def _take(self, ahead: deque[Future[Made]]) -> Batch:
        batch = self._lane.take(ahead.popleft().result())
        self._largest = max(self._largest, num_bytes(batch))
        return batch


def num_bytes(batch: Batch) -> int:
    """Return the memory of the tensors of a batch."""
    values = (value for store in batch.stores for value in store.values())
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


def build_stream(
    options: Loader,
    store: GraphStore,
    tasks: Mapping[str, BoundTask],
    *,
    split: str = "train",
    only: Collection[str] | None = None,
    num_hops: int | None = None,
    world_size: int = 1,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    edge_features: bool = False,
    section: str = "loader",
    seeds: Seeds | None = None,
    features: Mapping[str, Tensor] | None = None,
    device: torch.device = CPU,
    exchange: Exchange | None = None,
) -> Stream:
    """Make the stream of one split of a graph.

    Args:
        options: the `loader:` section; `auto` is 1 thread here, and numba: the job knows the
            cores and the GPUs.
        store: the graph.
        tasks: which seeds there are: the union of what they label.
        only: names of those whose seeds are wanted; default: all. What the others hold out stays
            hidden.
        split: train is shuffled every epoch, val and test keep their order.
        num_hops: hops to sample; default: as many as `num_neighbors` has.
        world_size: processes, for the default of `global_batch_size` alone.
        seed: the order and the neighbours follow from it.
        dtype: bfloat16 rounds the features to it, as autocast would: half the memory and copying.
        edge_features: whether the encoder reads features of edges.
        section: of the configuration that `num_neighbors` stands in, for messages.
        seeds: of each group, in the order in which they are to come; default: what the tasks label.
        features: of the nodes, by type, instead of the graph's.
        device: where the model is, and `backend: cuda` draws.
        exchange: to the processes that share the edges out where `edges: sharded` says so; all of
            them take as many microbatches.

    Raises:
        ConfigError: an option asks for what the graph has not, or the library behind `backend` is
            not installed or cannot do it.
    """
    held_out = _held_out(tasks)
    tasks = {name: task for name, task in tasks.items() if only is None or name in only}
    check_times(options, store, tasks)
    train = split == "train" and seeds is None
    global_batch_size = options.global_batch_size or options.batch_size * world_size
    groups = _groups(tasks, split) if seeds is None else seeds
    for name in options.rates.keys() - groups.keys():
        raise ConfigError(
            f"loader.rates.{name}: no task has such seeds{nearest(name, list(groups))} (there are: "
            f"{', '.join(groups)})"
        )
    order = SeedOrder(
        groups,
        batch_size=options.batch_size,
        global_batch_size=global_batch_size if train else options.batch_size,
        seed=seed,
        shuffle=train,
        rates=options.rates if train else None,
    )
    words = np.random.SeedSequence([seed, SPLITS[split]]).generate_state(1, np.uint64)
    fan_outs = fan_outs_of(options.num_neighbors, store.topology(), num_hops, section)
    sampler = sampler_of(options, store, fan_outs, int(words[0]), held_out, device, exchange)
    threads = 1 if options.num_threads == "auto" else int(options.num_threads)
    if sampler.max_threads is not None:
        threads = min(threads, sampler.max_threads)
    draws_there = isinstance(sampler, CudaSampler) and options.edges != "host"
    hides = any(task.hiding is not None for task in tasks.values())
    sampler.warm_up(max(threads, 1), exclude=hides)
    loader = MicrobatchLoader(
        store,
        tasks,
        sampler,
        order,
        split,
        dtype,
        edge_features=edge_features,
        seed_time=None if options.seed_time is None else options.seed_time[split],
        features=features,
        where=options.features if draws_there else "host",
    )
    return Stream(loader, threads, options.prefetch, options.prefetch_bytes, device)


def _held_out(tasks: Mapping[str, BoundTask]) -> dict[EdgeType, Bits]:
    """Return the edges of each type that never carry a message, whichever task says so."""
    found: dict[EdgeType, Bits] = {}
    for task in tasks.values():
        for kind, bits in task.held_out.items():
            found[kind] = found[kind] | bits if kind in found else bits
    return found


def _groups(tasks: Mapping[str, BoundTask], split: str) -> Seeds:
    """Return the union of the seeds of each group."""
    groups: dict[str, list[np.ndarray]] = {}
    for task in tasks.values():
        groups.setdefault(task.group, []).append(task.seeds(split))
    return {group: _union(parts) for group, parts in groups.items()}


def _union(parts: list[np.ndarray]) -> np.ndarray:
    """Return all seeds once, ascending, in 32 bits where that will do: each process keeps them."""
    seeds = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
    small = not len(seeds) or seeds[-1] < 2**31
    return seeds.astype(np.int32 if small else np.int64)


def _alone() -> None:
    """Let a loader thread gather with one core, and only with one that nobody else wants.

    A team of its own for each would fight the model's; the number of threads belongs to the thread
    that sets it. And what it does can wait, until the model waits for it or for other processes:
    two ranks of one core each do 1.88 times one with it, 1.70 without (benchmarks/scale.py).
    """
    torch.set_num_threads(1)
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)


def _mark_last(batches: Iterable[Batch], number: int) -> Iterator[Batch]:
    for i, batch in enumerate(batches, 1):
        batch.is_last = i == number
        yield batch
