"""tables: mapped edges on the disk, so that tables are read once and memory holds one part."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

CHUNK_BYTES = 1 << 26


class Spill:
    """Columns of rows, appended and read back in order, any number of times.

    Args:
        folder: that is there and empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dtypes: dict[str, np.dtype] = {}
        self._widths: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self.num_rows = 0

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._files)

    def zeros(self, name: str, num_rows: int) -> np.ndarray:
        """Return rows of zeros as a column has them."""
        return np.zeros((num_rows, *self._widths[name]), self._dtypes[name])

    def append(self, columns: dict[str, np.ndarray]) -> None:
        """Add some rows, always of the same columns."""
        for name, values in columns.items():
            if name not in self._files:
                self._files[name] = (self._folder / f"{len(self._files)}.bin").open("w+b")
                self._dtypes[name], self._widths[name] = values.dtype, values.shape[1:]
            np.ascontiguousarray(values).tofile(self._files[name])
        self.num_rows += len(next(iter(columns.values())))

    def chunks(self, wanted: list[str]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the rows in order, with some columns."""
        for name in wanted:
            self._files[name].flush()
        step = self.chunk_rows(wanted)
        for start in range(0, self.num_rows, step):
            count = min(step, self.num_rows - start)
            yield {name: self._read(name, start, count) for name in wanted}

    def chunk_rows(self, names: list[str]) -> int:
        """Return how many rows of some columns a chunk holds."""
        row_bytes = sum(self._dtypes[n].itemsize * math.prod(self._widths[n]) for n in names)
        return max(CHUNK_BYTES // max(row_bytes, 1), 1)

    def _read(self, name: str, start: int, count: int) -> np.ndarray:
        file, dtype, width = self._files[name], self._dtypes[name], math.prod(self._widths[name])
        values = np.fromfile(file.name, dtype, count * width, offset=start * width * dtype.itemsize)
        return values.reshape(count, *self._widths[name])

    def close(self) -> None:
        """Let the files go; their folder is removed by whoever made it."""
        for file in self._files.values():
            file.close()
