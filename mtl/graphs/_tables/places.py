"""tables: which row of which file each node is."""

import numpy as np

from mtl.graphs._tables.batch import Batch


class Places:
    """Remember the rows of batches in order, 8 bytes a row or, mostly, none."""

    def __init__(self) -> None:
        self._starts, self._parts = [0], list[tuple[str, range | np.ndarray]]()

    def __len__(self) -> int:
        return self._starts[-1]

    def add(self, batch: Batch) -> None:
        """Remember a batch."""
        rows = batch.rows
        whole = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
        self._parts.append((batch.file, range(rows[0], rows[-1] + 1) if whole else rows))
        self._starts.append(len(self) + len(rows))

    def of(self, nodes: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Return file, rows in the file and numbers of nodes, a batch at a time."""
        found = []
        for part in np.unique(np.searchsorted(self._starts, nodes, side="right") - 1):
            start, stop = self._starts[part], self._starts[part + 1]
            inside = nodes[(nodes >= start) & (nodes < stop)]
            file, rows = self._parts[part]
            found.append((file, np.asarray(rows)[inside - start], inside))
        return found
