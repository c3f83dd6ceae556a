"""evaluation: how far a metric may be off by chance: bootstrap intervals over the examples.

The examples of a split are drawn anew, with replacement, as often as there are, and the metrics
computed again (Efron, 1979; percentile intervals).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from job.scores import Watcher, metrics_of
from mtl.collective import Collective
from mtl.tasks._metrics import UndefinedError
from mtl.tasks.bound import BoundTask

Interval = tuple[float, float]


class Sample:
    """The scores of one task over a split, kept to be drawn from.

    Args:
        bound: the task.
        watcher: gets what this gets.
    """

    def __init__(self, bound: BoundTask, watcher: Watcher | None = None) -> None:
        self._metrics, self._watcher = metrics_of(bound), watcher
        self._scores: list[Tensor] = []
        self._targets: list[Tensor] = []

    @property
    def names(self) -> list[str]:
        """Names of the metrics; none without examples."""
        return list(self._metrics) if self._scores else []

    def update(
        self, scores: Float[Tensor, "seeds ..."], target: Shaped[Tensor, "seeds ..."]
    ) -> None:
        """Keep the scores of some seeds, as metrics read them, and what they should be."""
        self._scores.append(scores)
        self._targets.append(target)
        if self._watcher is not None:
            self._watcher.update(scores, target)

    def draw(self, resample: int, seed: int) -> dict[str, float]:
        """Return the metrics of examples drawn anew; NaN where they leave one undefined.

        Args:
            resample: number of the draw, which follows from it and the seed.
            seed: of all draws.
        """
        if len(self._scores) > 1:
            self._scores, self._targets = [torch.cat(self._scores)], [torch.cat(self._targets)]
        rng, size = np.random.default_rng([seed, resample]), len(self._scores[0])
        drawn = torch.from_numpy(rng.integers(size, size=size))
        some, its = self._scores[0][drawn], self._targets[0][drawn]
        values = {}
        for name, metric in self._metrics.items():
            metric.reset()
            metric.update(some, its)
            try:
                values[name] = float(metric.compute())
            except UndefinedError:  # no example of a class was drawn, say
                values[name] = math.nan
        return values


def intervals(
    sample: Sample,
    level: float,
    resamples: int,
    seed: int,
    collective: Collective,
    device: torch.device,
    beat: Callable[[], None] = lambda: None,
) -> dict[str, Interval]:
    """Return the interval of each metric that has a value in more than half of the draws.

    Each process computes every W-th draw, and all get the values of all: the same on any number.

    Args:
        sample: the scores of a task, the same on every process.
        level: share of the draws within the interval.
        resamples: how many draws.
        seed: they follow from it.
        collective: the processes that share the draws out.
        device: of what they exchange.
        beat: is called after each draw.
    """
    if not sample.names:
        return {}
    values = torch.zeros(resamples, len(sample.names), dtype=torch.float64)
    for resample in range(collective.rank, resamples, collective.world_size):
        values[resample] = torch.tensor(list(sample.draw(resample, seed).values()))
        beat()
    undefined = ~values.isfinite()
    both = torch.stack([values.masked_fill(undefined, 0), undefined.double()])
    values, undefined = collective.sum(both.to(device)).cpu()
    found = {name: values[undefined[:, i] == 0, i].numpy() for i, name in enumerate(sample.names)}
    return {n: _middle(v, level) for n, v in found.items() if 2 * len(v) > resamples}


def _middle(values: np.ndarray, level: float) -> Interval:
    """Return where the middle of the values begins and ends."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
