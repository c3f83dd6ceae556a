"""evaluation: how far a metric may be off by chance: bootstrap intervals over the examples.

The examples of a split are drawn anew, with replacement, as often as there are, and the metrics
computed again (Efron, 1979; percentile intervals). Draws follow from the seed, so the intervals are
the same on any number of processes.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from job.scores import Watcher, metrics_of
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

    def update(
        self, scores: Float[Tensor, "seeds ..."], target: Shaped[Tensor, "seeds ..."]
    ) -> None:
        """Keep the scores of some seeds, as metrics read them, and what they should be."""
        self._scores.append(scores)
        self._targets.append(target)
        if self._watcher is not None:
            self._watcher.update(scores, target)

    def intervals(
        self, level: float, resamples: int, seed: int, beat: Callable[[], None] = lambda: None
    ) -> dict[str, Interval]:
        """Return the interval of each metric that has a value in more than half of the draws.

        Args:
            level: share of the draws within the interval.
            resamples: how many draws.
            seed: they follow from it.
            beat: is called after each draw.
        """
        if not self._scores:
            return {}
        scores, targets = torch.cat(self._scores), torch.cat(self._targets)
        values: dict[str, list[float]] = {name: [] for name in self._metrics}
        for resample in range(resamples):
            rng = np.random.default_rng([seed, resample])
            drawn = torch.from_numpy(rng.integers(len(scores), size=len(scores)))
            some, its = scores[drawn], targets[drawn]
            for name, metric in self._metrics.items():
                metric.reset()
                metric.update(some, its)
                try:
                    values[name].append(float(metric.compute()))
                except UndefinedError:  # no example of a class was drawn, say
                    continue
            beat()
        found = {name: [v for v in drawn if math.isfinite(v)] for name, drawn in values.items()}
        return {n: _middle(v, level) for n, v in found.items() if 2 * len(v) > resamples}


def intervals(
    samples: Mapping[str, Sample],
    prefix: str,
    level: float,
    resamples: int,
    seed: int,
    beat: Callable[[], None],
) -> dict[str, Interval]:
    """Return `{PREFIX/TASK/METRIC: (low, high)}`."""
    return {
        f"{prefix}/{task}/{metric}": interval
        for task, sample in samples.items()
        for metric, interval in sample.intervals(level, resamples, seed, beat).items()
    }


def _middle(values: list[float], level: float) -> Interval:
    """Return where the middle of the values begins and ends."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
