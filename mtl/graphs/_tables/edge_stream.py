"""tables: spilled edges as the writer wants them: with reverses, loops and without duplicates."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mtl.graphs._chunks import EdgeChunk, LabelSpec
from mtl.graphs._tables.options import Edges
from mtl.graphs._tables.spill import Spill
from mtl.graphs.splits import mix

SORTED_BYTES = 1 << 28
ROW_BYTES = 40  # key, number and order of an edge, twice while they are joined

Columns = dict[str, np.ndarray]


class EdgeStream:
    """The edges of one relation, in the order of the files, any number of times.

    Args:
        spill: `src`, `dst`, and perhaps `weight`, `time`, `features`, `label NAME`, `split NAME`.
        table: its options.
        num_src: nodes of the source type.
        labels: of the edges.
        folder: for a file of one byte an edge, where duplicates are dropped.
    """

    def __init__(
        self,
        spill: Spill,
        table: Edges,
        num_src: int,
        labels: Mapping[str, LabelSpec],
        folder: Path,
    ) -> None:
        self._spill, self._table, self._num_src, self._labels = spill, table, num_src, labels
        self._keep = self._firsts(folder) if table.duplicates == "drop" else None

    def forward(self) -> Iterator[EdgeChunk]:
        """Yield the edges of the relation itself."""
        for columns in self._columns(self._spill.names):
            yield self._chunk(columns)

    def backward(self) -> Iterator[EdgeChunk]:
        """Yield the edges of the reverse relation; it has no labels and no splits."""
        names = [name for name in self._spill.names if not name.startswith(("label ", "split "))]
        for columns in self._columns(names):
            columns["src"], columns["dst"] = columns["dst"], columns["src"]
            yield self._chunk(columns)

    def _columns(self, names: list[str]) -> Iterator[Columns]:
        """Yield chunks of columns after loops, duplicates and symmetry were seen to."""
        start = 0
        for columns in self._spill.chunks(names):
            if self._keep is not None:
                chosen = self._keep[start : start + len(columns["src"])]
                start += len(chosen)
                columns = {name: values[chosen] for name, values in columns.items()}
            yield _both_ways(columns) if self._table.symmetrise else columns
        if self._table.self_loops == "add":
            yield from self._loops(names)

    def _chunk(self, columns: Columns) -> EdgeChunk:
        return EdgeChunk(
            columns["src"],
            columns["dst"],
            features=columns.get("features"),
            weight=columns.get("weight"),
            time=columns.get("time"),
            labels={n: columns[f"label {n}"] for n in self._labels if f"label {n}" in columns},
            splits={n: columns[f"split {n}"] for n in self._table.rules if f"split {n}" in columns},
        )

    def _loops(self, names: list[str]) -> Iterator[Columns]:
        """Yield a loop for every node that has none: weight 1, features 0, labels missing."""
        looped = np.zeros(self._num_src, bool)
        for columns in self._spill.chunks(["src", "dst"]):
            looped[columns["src"][columns["src"] == columns["dst"]]] = True
        nodes, step = np.flatnonzero(~looped), self._spill.chunk_rows(names)
        for start in range(0, len(nodes), step):
            yield self._loops_of(nodes[start : start + step], names)

    def _loops_of(self, nodes: np.ndarray, names: list[str]) -> Columns:
        columns = {name: self._spill.zeros(name, len(nodes)) for name in names}
        columns["src"] = columns["dst"] = nodes
        if "weight" in columns:
            columns["weight"] += 1
        for name in [name for name in self._labels if f"label {name}" in columns]:
            regression = self._labels[name].kind == "regression"
            columns[f"label {name}"] += np.nan if regression else -1
        return columns

    def _firsts(self, folder: Path) -> np.ndarray:
        """Say which edges are the first between their nodes: bool [edges], on the disk.

        Edges are sorted in parts that fit a bound, each with all edges of some pairs.
        """
        count = self._spill.num_rows
        keep = np.memmap(folder / "keep.bin", bool, "w+", shape=count)
        parts = -(-count * ROW_BYTES // SORTED_BYTES)
        for part in range(parts):
            keys, rows, start = [], [], 0
            for columns in self._spill.chunks(["src", "dst"]):
                key = pair_keys(columns["src"], columns["dst"], self._num_src, self._table)
                chosen = np.flatnonzero(mix(key.astype(np.uint64)) % np.uint64(parts) == part)
                keys.append(key[chosen])
                rows.append(start + chosen)
                start += len(key)
            order = np.argsort(key := np.concatenate(keys), kind="stable")
            first = np.diff(key[order], prepend=-1) != 0
            keep[np.concatenate(rows)[order[first]]] = True
        return keep


def pair_keys(src: np.ndarray, dst: np.ndarray, num_src: int, table: Edges) -> np.ndarray:
    """Return a number for each pair of nodes; both directions share it where both will be."""
    if table.symmetrise:
        src, dst = np.minimum(src, dst), np.maximum(src, dst)
    return np.asarray(dst.astype(np.int64) * num_src + src)


def _both_ways(columns: Columns) -> Columns:
    """Append the other direction of each edge that is no loop."""
    other = columns["src"] != columns["dst"]
    swapped = {**columns, "src": columns["dst"], "dst": columns["src"]}
    return {name: np.concatenate([columns[name], swapped[name][other]]) for name in columns}
