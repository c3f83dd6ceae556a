"""The arrays of a graph folder, read once from beginning to end, a chunk at a time, and hashed.

Read, not mapped: a graph may exceed the memory, and pages of a map count as the process's own.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mtl.errors import DataError
from mtl.graphs._npy import slices
from mtl.graphs._report import Report
from mtl.graphs._rules import Rule, Wrong
from mtl.graphs.schema import MANIFEST, ArrayInfo, GraphInfo

WHAT = "checking"


class Contents:
    """Chunks of a folder's arrays.

    Args:
        folder: of the graph.
        info: its graph.json, with which its files agree.
        hashed: whether SHA-256 of every file is checked, too.
        report: is told how many bytes of how many are checked.
    """

    def __init__(self, folder: Path, info: GraphInfo, hashed: bool, report: Report) -> None:
        self.folder, self._hashed, self._report = folder, hashed, report
        self._done, self._total = 0, sum(array.num_bytes for array in info.arrays())

    def chunks(
        self, info: ArrayInfo, parts: Iterable[slice] | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the values of each chunk.

        Args:
            info: of the array.
            parts: the rows of the chunks, one after the other; default: of equal size.

        Raises:
            DataError: when all are read: the SHA-256 is another.
        """
        path, dtype = self.folder / info.file, np.dtype(info.stored)
        row_bytes = info.num_bytes // max(info.shape[0], 1)
        parts = slices(info.shape[0], row_bytes) if parts is None else parts
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256(file.read(path.stat().st_size - info.num_bytes))
                for part in parts:
                    num_rows = part.stop - part.start
                    data = file.read(num_rows * row_bytes)
                    if self._hashed:
                        digest.update(data)
                    yield part.start, np.frombuffer(data, dtype).reshape(num_rows, *info.shape[1:])
                    self._done += len(data)
                    self._report(WHAT, self._done, self._total)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if self._hashed and digest.hexdigest() != info.sha256:
            found = digest.hexdigest()
            raise DataError(
                f"{path}: SHA-256 is {found}; {MANIFEST} says {info.sha256}: it changed"
            )

    def check(self, info: ArrayInfo, rule: Rule) -> None:
        """Check every value of an array.

        Raises:
            DataError: names file, row, column, value and what is allowed, and counts the rows.
        """
        wrong = self.wrong(info, rule.allowed)
        for start, values in self.chunks(info):
            wrong.look(np.asarray(rule.valid(values)), values, start, info.dtype)
        wrong.stop()

    def whole(self, info: ArrayInfo) -> np.ndarray:
        """Return an array of which there is one value a node."""
        values = np.empty(info.shape, info.stored)
        for start, chunk in self.chunks(info):
            values[start : start + len(chunk)] = chunk
        return values

    def wrong(self, info: ArrayInfo, allowed: str) -> Wrong:
        """Return a list of wrong rows of an array, empty yet."""
        return Wrong(str(self.folder / info.file), allowed)
