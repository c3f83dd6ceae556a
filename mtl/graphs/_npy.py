"""One array of a graph folder, written from its beginning to its end and hashed on the way."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mtl.errors import DataError
from mtl.graphs.schema import ArrayInfo

CHUNK_BYTES = 1 << 25


class NpyFile:
    """A `.npy` file whose shape is known before its rows are.

    Args:
        path: of a file that does not exist yet.
        dtype: of graph.json: bfloat16 comes and is stored as uint16.
        shape: of the whole array.
    """

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self._path, self._dtype, self._shape = path, dtype, tuple(map(int, shape))
        self._stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
        self._digest, self.num_rows = hashlib.sha256(), 0
        self._file = path.open("xb")

    def __enter__(self) -> Self:
        header = {"descr": self._stored.str, "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self, header)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows; they are of the stored dtype."""
        assert rows.dtype == self._stored, f"{self._path.name}: {rows.dtype}, not {self._stored}"
        assert rows.shape[1:] == self._shape[1:], f"{self._path.name}: rows of {rows.shape}"
        self.num_rows += len(rows)
        if rows.size:
            self.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)

    def write(self, data: Any) -> None:
        """Write bytes, and hash them."""
        self._digest.update(data)
        self._file.write(data)

    def finish(self) -> ArrayInfo:
        """Bring the file to the disk and describe it.

        Raises:
            DataError: more or fewer rows came than the shape says.
        """
        if self.num_rows != self._shape[0]:
            raise DataError(f"{self._path.name}: {self.num_rows} rows; allowed: {self._shape[0]}")
        self._file.flush()
        os.fsync(self._file.fileno())
        dtype: Any = self._dtype
        return ArrayInfo(
            file=self._path.name,
            dtype=dtype,
            shape=self._shape,
            sha256=self._digest.hexdigest(),
        )


def slices(num_rows: int, row_bytes: int) -> Iterator[slice]:
    """Cut rows into slices of at most `CHUNK_BYTES`, or of one row."""
    step = max(CHUNK_BYTES // max(row_bytes, 1), 1)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def sync(path: Path) -> None:
    """Bring a file, or the names of a folder's files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
