"""stream: the data order is a pure function of (seed, epoch); processes only share it out."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from jaxtyping import Int

Seeds = dict[str, Int[np.ndarray, " seeds"]]


class SeedOrder:
    """Which seeds stand in which microbatch.

    A group holds what is labelled of one node type or edge type. An epoch passes over every seed of
    every group exactly once, or over a part of a group, or several times, where it has a rate;
    groups are interleaved in proportion to that, so that all end together. A step takes
    `global_batch_size` seeds (the last of an epoch what is left) and spreads them evenly over
    `microbatches_per_step` microbatches. No argument knows about processes.

    Args:
        groups: seeds of each node type, without duplicates.
        batch_size: seeds of one microbatch at most.
        global_batch_size: seeds of one step; at least 1.
        seed: the order follows from it and from the epoch alone.
        shuffle: draw a new order every epoch, or keep the given one.
        rates: passes over a group in an epoch; 1 where none is given. At a rate of 0.25 four epochs
            pass over each seed exactly once.
    """

    def __init__(
        self,
        groups: Mapping[str, Int[np.ndarray, " seeds"]],
        *,
        batch_size: int,
        global_batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.groups = {name: groups[name] for name in sorted(groups)}
        rates = rates or {}
        self.sizes = {
            name: max(round(len(seeds) * rates.get(name, 1)), min(len(seeds), 1))
            for name, seeds in self.groups.items()
        }
        """Seeds of each group in an epoch."""
        self.num_seeds = sum(self.sizes.values())
        self.global_batch_size = global_batch_size
        self.microbatches_per_step = -(-global_batch_size // batch_size)
        self.steps_per_epoch = -(-self.num_seeds // global_batch_size)
        self._seed, self._shuffle = seed, shuffle
        self._epoch = lru_cache(maxsize=2)(self._draw)  # loaders are an epoch ahead at most

    def size(self, step: int) -> int:
        """Return the number of seeds of a step."""
        start = step % self.steps_per_epoch * self.global_batch_size
        return min(self.global_batch_size, self.num_seeds - start)

    def step(self, step: int) -> list[Seeds]:
        """Return the seeds of each microbatch of a step, counted from the start of training."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        group, position = self._epoch(epoch if self._shuffle else 0)
        start = step_in_epoch * self.global_batch_size
        window = slice(start, start + self.global_batch_size)
        positions = np.array_split(position[window], self.microbatches_per_step)
        if group is None:
            ((name, seeds),) = self.groups.items()
            return [{name: seeds[part]} for part in positions]
        groups = np.array_split(group[window], self.microbatches_per_step)
        return [
            {name: seeds[p[g == i]] for i, (name, seeds) in enumerate(self.groups.items())}
            for g, p in zip(groups, positions, strict=True)
        ]

    def microbatch(self, number: int) -> Seeds:
        """Return the seeds of a microbatch, counted from the start of training."""
        step, index = divmod(number, self.microbatches_per_step)
        return self.step(step)[index]

    def share(self, step: int, rank: int, world_size: int) -> list[int | None]:
        """Return the microbatches of a step that a process computes, in its order.

        Every process gets equally many; None stands for a round in which it has nothing to do.
        """
        rounds = -(-self.microbatches_per_step // world_size)
        indices = range(rank, rounds * world_size, world_size)
        first = step * self.microbatches_per_step
        return [first + i if i < self.microbatches_per_step else None for i in indices]

    def _draw(
        self, epoch: int
    ) -> tuple[Int[np.ndarray, " all_seeds"] | None, Int[np.ndarray, " all_seeds"]]:
        """Return group and position within its group of each seed, in the order of an epoch.

        Of one group, which may be most of the memory that a process needs, the positions alone.
        """
        sizes = list(self.sizes.values())
        parts = [self._part(epoch, i, size) for i, size in enumerate(sizes)]
        if len(sizes) == 1:
            return None, parts[0]
        group = np.repeat(np.arange(len(sizes)), sizes)
        rank_in_group = np.concatenate([np.arange(size) for size in sizes])
        progress = (rank_in_group + 0.5) / np.repeat(sizes, sizes)
        interleaved = np.lexsort((group, progress))
        return group[interleaved], np.concatenate(parts)[interleaved]

    def _part(self, epoch: int, group: int, size: int) -> Int[np.ndarray, " seeds"]:
        """Return what an epoch takes of a group: the next of one permutation after the other."""
        whole = len(list(self.groups.values())[group])
        if not whole:
            return np.empty(0, np.int64)
        start = epoch * size
        first, last = start // whole, -(-(start + size) // whole)
        passes = [self._permutation(number, group, whole) for number in range(first, last)]
        joined = passes[0] if len(passes) == 1 else np.concatenate(passes)
        return joined[start - first * whole :][:size]

    def _permutation(self, number: int, group: int, size: int) -> Int[np.ndarray, " seeds"]:
        """Return the order of a group in one pass; the n-th of the epochs where the rate is 1."""
        if not self._shuffle:
            return np.arange(size)
        order = np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)
        np.random.default_rng([self._seed, number, group]).shuffle(order)
        return order
