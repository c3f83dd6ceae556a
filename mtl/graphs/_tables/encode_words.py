"""tables: words and lists as columns of features."""

import re
import zlib

import numpy as np
import pyarrow as pa

from mtl.graphs._tables.encoder import Encoder
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.statistics import MOST_WORDS, Words
from mtl.graphs._tables.values import numbers
from mtl.graphs._tables.words import coded, listed
from mtl.graphs.splits import mix


class CategoricalEncoder(Encoder):
    """A column for each frequent word, one for all others where training rows have others."""

    allowed = f"one of at most {MOST_WORDS} words or numbers; else take `kind: bag`"

    def __init__(self, column: str, max_categories: int) -> None:
        super().__init__(column)
        self._max, self._words = max_categories, Words()

    @property
    def _place(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self._words.frequent(self._max))}

    @property
    def _width(self) -> int:
        return min(len(self._words.counts), self._max + 1)

    def _learn(self, array: pa.Array) -> np.ndarray:
        codes, words, _ = coded(array)
        if not self._words.too_many:
            self._words.add(codes, words)
        return np.asarray(codes < 0)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, words, bad = coded(array)
        others = self._max if self._width > self._max else -1
        place = self._place
        columns = np.array([*(place.get(word, others) for word in words), -1])[codes]
        rows = np.flatnonzero(columns >= 0)
        out[:] = 0
        out[rows, columns[rows]] = 1
        return codes < 0, bad | ((codes >= 0) & self._words.too_many)


class BagEncoder(Encoder):
    """1 in the bucket of each member of a list."""

    allowed = "a list of words or integers, or nothing"

    def __init__(self, column: str, num_buckets: int, separator: str) -> None:
        super().__init__(column)
        self._buckets, self._separator = num_buckets, separator

    @property
    def _width(self) -> int:
        return self._buckets

    def _learn(self, array: pa.Array) -> np.ndarray:
        return ~known(array)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, members, bad = listed(array, self._separator)
        rows = np.repeat(np.arange(len(array)), np.diff(starts))
        buckets, wrong = self._bucket(members)
        bad[rows[wrong]] = True
        there = buckets >= 0
        out[:] = 0
        out[rows[there], buckets[there]] = 1
        return ~known(array), bad

    def _bucket(self, members: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return the bucket of each member, -1 where it is missing; 3 and `3` are the same."""
        if pa.types.is_integer(members.type):
            buckets = self._bucket_of(members.fill_null(0).to_numpy())
            return np.where(known(members), buckets, -1), np.zeros(len(members), bool)
        codes, words, bad = coded(members)
        hashed = np.array([_integer(word) for word in words], np.int64)
        return np.append(self._bucket_of(hashed), -1)[codes], bad

    def _bucket_of(self, whole: np.ndarray) -> np.ndarray:
        """Return the bucket of integers: a small one is its own, all else is hashed."""
        own = (whole >= 0) & (whole < self._buckets)
        hashed = mix(whole.astype(np.uint64)) % np.uint64(self._buckets)
        return np.where(own, whole, hashed.astype(np.int64))


def _integer(word: str) -> int:
    """Return an integer of 64 bits as it is, anything else as one beyond all buckets."""
    if re.fullmatch(r"-?[0-9]{1,19}", word) and -(2**63) <= int(word) < 2**63:
        return int(word)
    return 2**62 + zlib.crc32(word.encode())


class VectorEncoder(Encoder):
    """The numbers of a list of fixed length."""

    _width = 0

    def __init__(self, column: str, separator: str) -> None:
        super().__init__(column)
        self._separator = separator

    @property
    def allowed(self) -> str:  # type: ignore[override]
        told = f"a list of {self._width} finite numbers, or nothing"
        return told if self._width else "a list of numbers in one of the rows at least"

    def learn(self, array: pa.Array, train: np.ndarray) -> None:
        """Take rows into account; the first list that holds anything says the length."""
        if not self._width:
            lengths = np.diff(listed(array, self._separator)[0])
            self._width = int(next(iter(lengths[lengths > 0]), 0))
        super().learn(array, train)

    def _learn(self, array: pa.Array) -> np.ndarray:
        return ~known(array)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, members, bad = listed(array, self._separator)
        there = known(array)
        if not self._width:
            return ~there, np.ones(len(array), bool)
        bad |= there & (np.diff(starts) != self._width)
        fits = there & ~bad
        rows = np.repeat(np.arange(len(array)), np.diff(starts))
        values, _ = numbers(members)
        out[:] = 0
        out[fits] = values[fits[rows]].reshape(-1, self._width)
        bad |= ~np.isfinite(out).all(axis=1)
        return ~there, bad
