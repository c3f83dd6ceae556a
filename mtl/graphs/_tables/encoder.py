"""tables: what becomes of a feature column; each kind is a class of its own."""

from abc import ABC, abstractmethod

import numpy as np
import pyarrow as pa

from mtl.graphs._tables.batch import Batch, Faults


class Encoder(ABC):
    """One feature: learn from the training rows, then encode all.

    A missing value is 0 everywhere, and 1 in one more column where training rows have missing ones.

    Args:
        column: of the table.
    """

    allowed: str
    """What a value may be, for errors."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.has_missing = False

    def learn(self, array: pa.Array, train: np.ndarray) -> None:
        """Take rows into account; `train` says which of them train."""
        chosen = array.filter(pa.array(train))
        self.has_missing |= bool(self._learn(chosen).any())

    @property
    def width(self) -> int:
        """How many columns it becomes."""
        return self._width + self.has_missing

    def encode(self, batch: Batch, out: np.ndarray, faults: Faults) -> None:
        """Write float32 or float64 [rows, width]; note what is wrong."""
        missing, bad = self._encode(batch.columns[self.column], out[:, : self._width])
        if self.has_missing:
            out[:, self._width] = missing
        faults.note(batch, bad, self.column, self.allowed)

    @property
    @abstractmethod
    def _width(self) -> int: ...

    @abstractmethod
    def _learn(self, array: pa.Array) -> np.ndarray:
        """Learn from training rows; return which of them are missing."""

    @abstractmethod
    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fill `out`; return which rows are missing, and which are wrong."""
