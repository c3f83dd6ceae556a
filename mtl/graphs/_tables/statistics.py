"""tables: what is learned of a column batch by batch: mean and deviation, ranks, frequent words."""

import re
from collections import Counter

import numpy as np

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
SAMPLE = 1 << 20
MOST_WORDS = 1 << 20


class Moments:
    """Mean and standard deviation of all numbers (Chan et al., 1979)."""

    def __init__(self) -> None:
        self._count, self.mean, self._square = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        """Take finite numbers into account."""
        if len(values):
            count, mean = len(values), float(values.mean())
            total, gap = self._count + count, mean - self.mean
            self._square += float(((values - mean) ** 2).sum())
            self._square += gap * gap * self._count * count / total
            self.mean += gap * count / total
            self._count = total

    @property
    def deviation(self) -> float:
        """Standard deviation; 1 where all numbers are equal but for rounding."""
        variance = self._square / max(self._count, 1)
        rounding = (self._count * self.mean * np.finfo(np.float64).eps) ** 2
        return float(np.sqrt(variance)) if variance > rounding else 1.0

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return (x - mean) / deviation."""
        return np.asarray((values - self.mean) / self.deviation)


class Ranks:
    """Which share of all numbers is below one; of a uniform sample where there are many."""

    def __init__(self) -> None:
        self._rng, self._share = np.random.default_rng(0), 1.0
        self._values = np.empty(0)
        self._sorted = True

    def add(self, values: np.ndarray) -> None:
        """Take finite numbers into account."""
        drawn = values if self._share == 1 else values[self._rng.random(len(values)) < self._share]
        self._values, self._sorted = np.concatenate([self._values, drawn]), False
        while len(self._values) > SAMPLE:
            self._share /= 2
            self._values = self._values[self._rng.random(len(self._values)) < 0.5]

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return the share below, equal numbers half, from -1 to 1; 0 is the median."""
        if not self._sorted:
            self._values.sort()
            self._sorted = True
        below = np.searchsorted(self._values, values, side="left")
        upto = np.searchsorted(self._values, values, side="right")
        return np.asarray((below + upto) / max(len(self._values), 1) - 1)


class Words:
    """How often each word stands there."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, codes: np.ndarray, words: list[str]) -> None:
        """Count rows by the numbers of their words; -1 is missing."""
        found = np.bincount(codes[codes >= 0], minlength=len(words)).tolist()
        self.counts.update({word: n for word, n in zip(words, found, strict=True) if n})

    @property
    def too_many(self) -> bool:
        """Whether there are more than anybody means."""
        return len(self.counts) > MOST_WORDS

    def frequent(self, most: int) -> list[str]:
        """Return the most frequent words, the first in the alphabet of equally frequent ones."""
        return sorted(self.counts, key=lambda word: (-self.counts[word], word))[:most]

    def sorted(self) -> list[str]:
        """Return all words in order, as numbers where all are."""
        if all(NUMBER.fullmatch(word) for word in self.counts):
            return sorted(self.counts, key=lambda word: (float(word), word))
        return sorted(self.counts)
