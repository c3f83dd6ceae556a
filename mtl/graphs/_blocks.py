"""Edges on the disk by block: consecutive destinations whose edges fit into memory together."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mtl.graphs._columns import DST, Column, Name, Piece

BLOCK_BYTES = 1 << 26
SORTING_BYTES = 32
"""Of an edge's key and place while its block is sorted."""


@dataclass(frozen=True)
class Block:
    """Destinations `nodes[0]` to `nodes[1]`; theirs are edges `edges[0]` to `edges[1]`."""

    nodes: tuple[int, int]
    edges: tuple[int, int]


class Blocks:
    """One file per column, where each block has a region: edges come in any order, and stay in it.

    Args:
        folder: an empty one for the files.
        colptr: where the edges of each destination will start; [num_dst + 1].
        columns: of the edges.
        key_bits: that destination and place of an edge in its block may take together.
    """

    def __init__(
        self, folder: Path, colptr: np.ndarray, columns: Mapping[Name, Column], key_bits: int
    ) -> None:
        self._paths = {name: folder / str(number) for number, name in enumerate(columns)}
        self._columns = dict(columns)
        row_bytes = SORTING_BYTES + sum(column.row_bytes for column in columns.values())
        self.num_edges = max(BLOCK_BYTES // row_bytes, 1)
        self._starts = _cut(colptr, self.num_edges, key_bits)
        self._ends = colptr[self._starts]
        self._filled = self._ends[:-1].copy()
        numbers = np.arange(len(self._filled))
        few = np.uint16 if len(numbers) <= 2**16 else np.int64  # numpy's radix sort takes 16 bits
        self._block_of = np.repeat(numbers.astype(few), np.diff(self._starts))
        self._files = ExitStack()

    def __enter__(self) -> Self:
        self._open = {
            name: self._files.enter_context(path.open("wb")) for name, path in self._paths.items()
        }
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def put(self, piece: Piece) -> None:
        """Append edges to their blocks."""
        block = self._block_of[piece[DST]]
        counts = np.bincount(block, minlength=len(self._filled))
        order = np.argsort(block, kind="stable")
        stops = np.cumsum(counts)
        for name, column in self._columns.items():
            values = np.take(piece[name], order, axis=0)
            file, size = self._open[name], column.row_bytes
            data = values.reshape(-1).view(np.uint8).data
            for b in np.flatnonzero(counts):
                file.seek(int(self._filled[b]) * size)
                file.write(data[(stops[b] - counts[b]) * size : stops[b] * size])
        self._filled += counts

    def full(self) -> bool:
        """Say whether every block has its edges, neither more nor fewer."""
        return bool((self._filled == self._ends[1:]).all())

    def __iter__(self) -> Iterator[Block]:
        for file in self._open.values():
            file.flush()
        nodes, edges = self._starts.tolist(), self._ends.tolist()
        for number in range(len(nodes) - 1):
            yield Block((nodes[number], nodes[number + 1]), (edges[number], edges[number + 1]))

    def read(self, block: Block, name: Name) -> np.ndarray:
        """Return a column of a block, its edges in the order in which they came."""
        column, (start, stop) = self._columns[name], block.edges
        count = (stop - start) * column.row_bytes // column.stored.itemsize
        offset = start * column.row_bytes
        values = np.fromfile(self._paths[name], column.stored, count, offset=offset)
        return values.reshape(-1, *column.width)


def _cut(colptr: np.ndarray, num_edges: int, key_bits: int) -> np.ndarray:
    """Cut destinations where a block is full, or its destinations take too many bits."""
    num_dst = len(colptr) - 1
    most = 1 << max(key_bits - (num_edges - 1).bit_length(), 0)
    starts = [0]
    while (first := starts[-1]) < num_dst:
        room = int(np.searchsorted(colptr, colptr[first] + num_edges, side="right")) - 1
        starts.append(min(max(room, first + 1), first + most, num_dst))
    return np.array(starts)
