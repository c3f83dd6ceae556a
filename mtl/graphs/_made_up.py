"""What the made-up sources share: seeded draws, edges between communities, labels with noise."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

NUM_INTERESTS = 6
SIGNAL = 0.25  # of the community in own features: weak in one node, clear in a mean of neighbours


@dataclass(frozen=True)
class Draws:
    """Everything random of one graph; each purpose has a generator of its own.

    So noise and missing change labels alone.

    Attributes:
        seed: of the graph.
        noise: share of classes replaced, and of a regression's variance that is noise.
        missing: share of every label that is hidden.
    """

    seed: int
    noise: float
    missing: float

    def rng(self, purpose: str) -> np.random.Generator:
        """Return the generator of a purpose."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def features(self, name: str, community: np.ndarray, num: int, width: int) -> np.ndarray:
        """Draw float32 [len(community), width] that show each of `num` communities weakly."""
        rng = self.rng(name)
        centres = rng.normal(scale=SIGNAL, size=(num, width))
        features = rng.standard_normal((len(community), width), np.float32)
        features += centres.astype(np.float32)[community]
        return features

    def flip(self, name: str, values: np.ndarray, num_classes: int) -> np.ndarray:
        """Replace a share `noise` by another class, hide a share `missing`."""
        rng = self.rng(name + " noise")
        other = rng.integers(1, num_classes, size=values.shape)
        flipped = (values + other * (rng.random(values.shape) < self.noise)) % num_classes
        return np.where(self._hidden(name, values), -1, flipped)

    def blur(self, name: str, values: np.ndarray) -> np.ndarray:
        """Mix in Gaussian noise, the variance staying 1; hide a share `missing`."""
        noise = self.rng(name + " noise").standard_normal(values.shape)
        mixed = np.sqrt(1 - self.noise) * values + np.sqrt(self.noise) * noise
        return np.where(self._hidden(name, values), np.nan, mixed)

    def likes(self, community: np.ndarray, features: np.ndarray, num: int) -> np.ndarray:
        """Decide NUM_INTERESTS interests by what a community likes, a little by own features."""
        rng = self.rng("interests")
        half = np.arange(num) < num / 2
        liked = np.stack([rng.permutation(half) for _ in range(NUM_INTERESTS)], axis=1)
        own = project(features, rng.standard_normal((features.shape[1], NUM_INTERESTS)))
        return np.asarray(standard(own) + 3.0 * liked[community] > 1.5)

    def _hidden(self, name: str, values: np.ndarray) -> np.ndarray:
        return self.rng(name + " missing").random(values.shape) < self.missing


class Crowd:
    """Nodes that are drawn in proportion to their weights, from all or from one community."""

    def __init__(self, community: np.ndarray, num_communities: int, weights: np.ndarray) -> None:
        self._order = np.argsort(community, kind="stable")
        self._heap = np.concatenate([[0.0], np.cumsum(weights[self._order])])
        starts = np.searchsorted(community[self._order], np.arange(num_communities + 1))
        self._bounds = self._heap[starts]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw `count` nodes."""
        return self._pick(self._heap[:1], self._heap[-1:], count, rng)

    def draw_of(self, community: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one node of each of these communities; the one after, of a community without."""
        low, high = self._bounds[community], self._bounds[community + 1]
        return self._pick(low, high, len(community), rng)

    def _pick(
        self, low: np.ndarray, high: np.ndarray, count: int, rng: np.random.Generator
    ) -> np.ndarray:
        place = np.searchsorted(self._heap, low + (high - low) * rng.random(count), side="right")
        picked: np.ndarray = self._order[np.clip(place - 1, 0, len(self._order) - 1)]
        return picked


def stray(
    community: np.ndarray, num_communities: int, homophily: float, rng: np.random.Generator
) -> np.ndarray:
    """Keep a share `homophily` of communities, replace the rest by any other."""
    jump = rng.integers(1, num_communities, size=len(community))
    jump *= rng.random(len(community)) >= homophily
    return np.asarray((community + jump) % num_communities)


def distinct(draw: Callable[[int], np.ndarray], wanted: int) -> np.ndarray:
    """Draw int64 keys until about `wanted` differ; each round fills most of what was left open."""
    keys = np.empty(0, np.int64)
    for _ in range(20):
        keys = np.concatenate([keys, draw(wanted - len(keys))])
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1) != 0]
        if wanted - len(keys) <= wanted // 1000:
            break
    return keys


def heavy_tailed(count: int, cap: float, rng: np.random.Generator) -> np.ndarray:
    """Draw weights, most near 1, a few up to `cap` times more."""
    return np.minimum(1 + rng.pareto(1.5, count), cap)


def mix(own: np.ndarray, *heard: np.ndarray) -> np.ndarray:
    """Add what a node knows itself and what it hears of neighbours: mean 0, deviation 1."""
    return standard(standard(own) + sum(1.5 * standard(values) for values in heard))


def mean_of(values: np.ndarray, src: np.ndarray, dst: np.ndarray, num_dst: int) -> np.ndarray:
    """Return the mean of the sources' values at each destination; 0 where there is none."""
    degree = np.bincount(dst, minlength=num_dst)
    return np.asarray(np.bincount(dst, values[src], num_dst) / np.maximum(degree, 1))


def project(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Multiply without BLAS, whose last bit depends on the processor and the threads."""
    total = np.zeros((len(features), weights.shape[1]))
    for column, weight in zip(features.T, weights, strict=True):
        total += np.multiply.outer(column.astype(np.float64), weight)
    return total


def standard(values: np.ndarray) -> np.ndarray:
    """Shift and scale to mean 0 and deviation 1."""
    spread = np.maximum(values.std(axis=0), 1e-12)
    scaled: np.ndarray = (values - values.mean(axis=0)) / spread
    return scaled
