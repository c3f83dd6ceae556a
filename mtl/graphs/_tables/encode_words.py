"""tables: words and lists as columns of features."""

import re
import zlib

import numpy as np
import pyarrow as pa

from mtl.graphs._tables.encoder import Encoder
from mtl.graphs._tables.statistics import MOST_WORDS, Words
from mtl.graphs._tables.values import coded, known, listed, numbers
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
        codes, words = coded(array)
        if not self._words.too_many:
            self._words.add(codes, words)
        return np.asarray(codes < 0)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, words = coded(array)
        others = self._max if self._width > self._max else -1
        place = self._place
        columns = np.array([*(place.get(word, others) for word in words), -1])[codes]
        rows = np.flatnonzero(columns >= 0)
        out[:] = 0
        out[rows, columns[rows]] = 1
        return codes < 0, (codes >= 0) & self._words.too_many


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
        out[:] = 0
        out[rows, self._bucket(members)] = 1
        return ~known(array), bad

    def _bucket(self, members: pa.Array) -> np.ndarray:
        """Return the bucket of each member; 3 and `3` are the same."""
        if pa.types.is_integer(members.type):
            return self._bucket_of(members.to_numpy().astype(np.int64))
        codes, words = coded(members)
        hashed = [_integer(word) for word in words]
        return np.asarray(self._bucket_of(np.array(hashed, np.int64))[codes])

    def _bucket_of(self, whole: np.ndarray) -> np.ndarray:
        """Return the bucket of integers: a small one is its own, all else is hashed."""
        own = (whole >= 0) & (whole < self._buckets)
        hashed = mix(whole.astype(np.uint64)) % np.uint64(self._buckets)
        return np.where(own, whole, hashed.astype(np.int64))


def _integer(word: str) -> int:
    """Return an integer as it is, a word as one beyond all buckets."""
    if re.fullmatch(r"-?[0-9]{1,18}", word):
        return int(word)
    return 2**62 + zlib.crc32(word.encode())


class VectorEncoder(Encoder):
    """The numbers of a list of fixed length."""

    def __init__(self, column: str, separator: str) -> None:
        super().__init__(column)
        self._separator, self._length = separator, -1

    @property
    def allowed(self) -> str:  # type: ignore[override]
        return f"a list of {self._width} finite numbers, or nothing"

    @property
    def _width(self) -> int:
        return max(self._length, 0)

    def learn(self, array: pa.Array, train: np.ndarray) -> None:
        """Take rows into account; the first list that there is says the length."""
        if self._length < 0:
            starts, _, _ = listed(array, self._separator)
            lengths = np.diff(starts)[known(array)]
            self._length = int(lengths[0]) if len(lengths) else -1
        super().learn(array, train)

    def _learn(self, array: pa.Array) -> np.ndarray:
        return ~known(array)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, members, bad = listed(array, self._separator)
        there = known(array)
        bad |= there & (np.diff(starts) != self._width)
        fits = there & ~bad
        rows = np.repeat(np.arange(len(array)), np.diff(starts))
        values, _ = numbers(members)
        out[:] = 0
        out[fits] = values[fits[rows]].reshape(-1, self._width)
        bad |= ~np.isfinite(out).all(axis=1)
        return ~there, bad
