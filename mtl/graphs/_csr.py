"""Sparse matrices of raw files, checked as numpy can: scipy crashes on some that pass its check."""

import math
from typing import NamedTuple

import numpy as np

from mtl.graphs._memory import memory_bytes


class Csr(NamedTuple):
    """The values of a matrix that are not 0, row after row.

    Attributes:
        data: the values.
        indices: the column of each.
        indptr: where each row begins, and where the last ends; [rows + 1].
        shape: rows and columns.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column of each value, int64, having checked all of the matrix.

        Raises:
            ValueError: says what is wrong.
        """
        rows, columns = (int(size) for size in self.shape)
        if any(part.ndim != 1 or part.dtype.kind not in "biuf" for part in self[:3]):
            raise ValueError("data, indices or indptr is no list of numbers")
        indices, indptr = (part.astype(np.int64) for part in (self.indices, self.indptr))
        if len(indptr) != rows + 1 or len(self.data) != len(indices):
            raise ValueError(f"data, indices and indptr do not fit {rows} rows")
        lengths = np.diff(indptr)
        if indptr[0] != 0 or indptr[-1] != len(indices) or (lengths < 0).any():
            raise ValueError(f"indptr: expected to rise from 0 to {len(indices)}")
        if wrong := indices[(indices < 0) | (indices >= columns)].tolist():
            raise ValueError(f"indices: {wrong[0]}; allowed: 0 to {columns - 1}")
        return np.repeat(np.arange(rows), lengths), indices

    def dense(self) -> np.ndarray:
        """Return the matrix with its zeros, float32; values at the same place are added.

        Raises:
            ValueError: it is wrong, or larger than the memory.
        """
        places = self.places()
        if math.prod(self.shape) * 4 > memory_bytes():
            raise ValueError(f"{self.shape} is larger than the memory")
        array = np.zeros(self.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(array, places, self.data.astype(np.float32))
        if not np.isfinite(array).all():
            raise ValueError("data: a value that is no finite number")
        return array
