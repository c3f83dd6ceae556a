"""tables: the user's ids of the nodes of a type, and the rows that they are."""

from abc import ABC, abstractmethod

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl.graphs._tables import hashing
from mtl.graphs._tables.parse import parsed
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.values import MISSING

SPARSE = 4  # a table of all integers between the ids may be so many times longer than the ids
UNKNOWN = -1


class IdMap(ABC):
    """The ids of a type of nodes, in the order of the rows.

    Attributes:
        again: which rows have an id that stands before; bool [rows].
        kind: of the ids, for errors.
    """

    again: np.ndarray
    kind: str

    @abstractmethod
    def rows(self, values: pa.Array) -> np.ndarray:
        """Return the row of each id, int64; -1 where no node has it."""

    @abstractmethod
    def stored(self) -> np.ndarray | pa.Array | None:
        """Return the ids for the graph folder; None where they are the numbers of the rows."""


def id_map(ids: pa.Array) -> IdMap:
    """Make the map of all ids of a type, int64 or string without nulls."""
    if not pa.types.is_integer(ids.type):
        return TextIds(ids)
    values = ids.to_numpy()
    spread = int(values.max()) - int(values.min()) + 1 if len(values) else 0
    return DenseIds(values) if spread <= SPARSE * len(values) + 1024 else IntegerIds(values)


class DenseIds(IdMap):
    """Integers close together: a table of all between the lowest and the highest."""

    kind = "integers"

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        ends = (int(values.min()), int(values.max())) if len(values) else (0, -1)
        self._low, self._high = ends
        rows = np.arange(len(values), dtype=_dtype(len(values)))
        self._table = np.full(self._high - self._low + 1, UNKNOWN, rows.dtype)
        self._table[values[::-1] - self._low] = rows[::-1]  # of several, the first stays
        self.again = self._table[values - self._low] != rows

    def rows(self, values: pa.Array) -> np.ndarray:
        """Return the row of each id."""
        wanted = _whole(values)
        inside = (wanted >= self._low) & (wanted <= self._high)
        found = np.full(len(wanted), UNKNOWN, np.int64)
        found[inside] = self._table[wanted[inside] - self._low]
        return found

    def stored(self) -> np.ndarray | None:
        """Return the ids, unless they are the numbers of the rows."""
        plain = np.array_equal(self._values, np.arange(len(self._values)))
        return None if plain else self._values


class IntegerIds(IdMap):
    """Integers far apart: a hash table."""

    kind = "integers"

    def __init__(self, values: np.ndarray) -> None:
        self._values, self._slots = values, _slots(len(values))
        self.again = np.zeros(len(values), bool)
        hashing.insert_integers(self._slots, _hashes(values), values, self.again)

    def rows(self, values: pa.Array) -> np.ndarray:
        """Return the row of each id."""
        wanted = _whole(values)
        found = np.empty(len(wanted), np.int64)
        hashing.find_integers(self._slots, self._values, _hashes(wanted), wanted, found)
        return found

    def stored(self) -> np.ndarray:
        """Return the ids."""
        return self._values


class TextIds(IdMap):
    """Strings: a hash table."""

    kind = "strings"

    def __init__(self, values: pa.Array) -> None:
        self._values = values.cast(pa.large_string())
        self._offsets, self._data = _buffers(self._values)
        self._slots, self.again = _slots(len(values)), np.zeros(len(values), bool)
        self._hashes = np.empty(len(values), np.uint64)
        hashing.hash_texts(self._offsets, self._data, self._hashes)
        hashing.insert_texts(self._slots, self._hashes, self._offsets, self._data, self.again)

    def rows(self, values: pa.Array) -> np.ndarray:
        """Return the row of each id."""
        offsets, data = _buffers(values.cast(pa.large_string()).fill_null(""))
        wanted, found = np.empty(len(values), np.uint64), np.empty(len(values), np.int64)
        hashing.hash_texts(offsets, data, wanted)
        own = (self._slots, self._hashes, self._offsets, self._data)
        hashing.find_texts(*own, wanted, offsets, data, found)
        return np.where(known(values), found, UNKNOWN)

    def stored(self) -> pa.Array:
        """Return the ids."""
        return self._values


def _whole(values: pa.Array) -> np.ndarray:
    """Return int64; what is missing or not written as an integer is becomes one that is no id."""
    if pa.types.is_string(values.type):
        texts, (values, _) = values, parsed(values, pa.int64())
        exact = pc.equal(values.cast(pa.string()), pc.utf8_trim_whitespace(texts))
        values = pc.if_else(exact, values, None)
    whole: np.ndarray = values.fill_null(MISSING).to_numpy(zero_copy_only=False)
    return whole.astype(np.int64, copy=False)


def _hashes(values: np.ndarray) -> np.ndarray:
    out = np.empty(len(values), np.uint64)
    hashing.hash_integers(values, out)
    return out


def _slots(count: int) -> np.ndarray:
    return np.full(1 << max(2 * count - 1, 1).bit_length(), UNKNOWN, _dtype(count))


def _dtype(count: int) -> type[np.signedinteger]:
    return np.int32 if count < 2**31 else np.int64


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and bytes of large strings without nulls, without a copy."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return ends, np.frombuffer(data or b"", np.uint8)
