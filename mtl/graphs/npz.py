"""Many small graphs, such as molecules, in one NumPy file, with labels of each as a whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mtl.errors import DataError
from mtl.graphs import Source
from mtl.graphs._categories import one_hot
from mtl.graphs._npz import read_npz
from mtl.graphs.writer import GraphWriter

WORDS = {"iu": "whole numbers", "iuf": "numbers", "US": "names"}
MOST = 2**31
NEEDED = ("num_nodes", "num_edges", "x", "edge_index", "y")


@dataclass(frozen=True, kw_only=True)
class Npz(Source):
    """Arrays of all graphs, one graph after the other.

    `num_nodes` [graphs] and `num_edges` [graphs]; `x` [nodes, columns]; `edge_index` [2, edges],
    counted from 0 in each graph; perhaps `edge_attr` [edges, columns]; `y` [graphs] or [graphs,
    columns]; any number of arrays NAME_split [graphs] of 0 train, 1 val, 2 test, -1 none. Columns
    of whole numbers are categories, each of which becomes a feature. Labels: `y` is a multilabel if
    it has columns (missing is NaN or -1; names of the columns are in `tasks`), a class if it holds
    whole numbers, else a number.
    """

    parts: ClassVar[tuple[str, ...]] = ("_categories", "_npz")

    file: Path
    """The .npz file."""
    collection: str = "molecule"
    """What one of the graphs is called."""
    node_type: str = "atom"
    """What its nodes are called."""
    relation: str = "bond"
    """What its edges are called."""

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.file.stem

    def files(self) -> list[Path]:
        """Return the file.

        Raises:
            DataError: there is none.
        """
        if not self.file.is_file():
            raise DataError(f"{self.file}: no such file")
        return [self.file]

    def write(self, writer: GraphWriter) -> None:
        """Write the graphs as one."""
        arrays = self._load()
        pointer = np.append(0, np.cumsum(arrays["num_nodes"], dtype=np.int64))
        starts = np.repeat(pointer[:-1], arrays["num_edges"])
        edges = arrays["edge_index"].astype(np.int64)
        self._check_edges(arrays, edges)
        node, edge_type = self.node_type, (self.node_type, self.relation, self.node_type)
        writer.add_nodes(node, int(pointer[-1]), self._features("x", arrays["x"]))
        writer.add_collection(self.collection, node, pointer)
        self._add_label(writer, arrays)
        for name, split in arrays.items():
            if name.endswith("_split"):
                writer.add_split(
                    self.collection, name.removesuffix("_split"), split.astype(int) + 1
                )
        src, dst = edges + starts
        there, back = (np.lexsort(pair) for pair in ((src, dst), (dst, src)))
        both_ways = np.array_equal((src[there], dst[there]), (dst[back], src[back]))
        attr = arrays.get("edge_attr")
        writer.add_edges(
            edge_type,
            src,
            dst,
            features=None if attr is None else self._features("edge_attr", attr),
            reverse=edge_type if both_ways else None,
        )

    def _add_label(self, writer: GraphWriter, arrays: dict[str, np.ndarray]) -> None:
        y, owner = arrays["y"], self.collection
        if y.ndim == 2:
            known = np.where(np.isnan(y), -1, y) if y.dtype.kind == "f" else y
            classes = [str(name) for name in arrays["tasks"]] if "tasks" in arrays else None
            width = y.shape[1]
            writer.add_label(owner, "y", "multilabel", known, num_classes=width, classes=classes)
        elif y.dtype.kind == "f":
            writer.add_label(owner, "y", "regression", y)
        else:
            writer.add_label(owner, "y", "class", y, num_classes=int(y.max(initial=0)) + 1)

    def _load(self) -> dict[str, np.ndarray]:
        try:
            arrays = read_npz(self.file)
        except Exception as error:  # a broken file may raise any exception
            raise DataError(f"{self.file}: cannot be read as .npz: {error}") from error
        for name in NEEDED:
            if name not in arrays:
                raise DataError(f"{self.file}: no array {name!r} (it has: {', '.join(arrays)})")
        self._check_kinds(arrays)
        graphs = len(arrays["num_nodes"])
        nodes, edges = (int(arrays[key].astype(np.int64).sum()) for key in NEEDED[:2])
        wanted = {"num_edges": graphs, "y": graphs, "x": nodes, "edge_attr": edges}
        wanted |= dict.fromkeys((name for name in arrays if name.endswith("_split")), graphs)
        for name, rows in wanted.items():
            if name in arrays and len(arrays[name]) != rows:
                raise DataError(
                    f"{self.file}: {name} has {len(arrays[name])} rows; allowed: {rows}, as "
                    "num_nodes and num_edges say"
                )
        if arrays["edge_index"].shape != (2, edges):
            shape = arrays["edge_index"].shape
            raise DataError(f"{self.file}: edge_index is {shape}; allowed: (2, {edges})")
        return arrays

    def _check_kinds(self, arrays: dict[str, np.ndarray]) -> None:
        """Check what each array holds, and in how many dimensions."""
        wanted: dict[str, tuple[str, tuple[int, ...]]]
        wanted = {"num_nodes": ("iu", (1,)), "num_edges": ("iu", (1,)), "edge_index": ("iu", (2,))}
        wanted |= {"x": ("iuf", (2,)), "edge_attr": ("iuf", (2,)), "y": ("iuf", (1, 2))}
        wanted |= {name: ("iu", (1,)) for name in arrays if name.endswith("_split")}
        wanted |= {"tasks": ("US", (1,))}
        for name, (kinds, dimensions) in wanted.items():
            array = arrays.get(name, np.empty(0))
            if name in arrays and (array.dtype.kind not in kinds or array.ndim not in dimensions):
                raise DataError(
                    f"{self.file}: {name} is {array.dtype} {array.shape}; allowed: "
                    f"{WORDS[kinds]} in {' or '.join(map(str, dimensions))} dimensions"
                )
        for name in NEEDED[:2]:
            wrong = (arrays[name] < 0) | (arrays[name] >= MOST)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise DataError(
                    f"{self.file}: {name}, row {row}: {arrays[name][row]}; allowed: 0 to {MOST - 1}"
                )
            arrays[name] = arrays[name].astype(np.int64)

    def _check_edges(self, arrays: dict[str, np.ndarray], edges: np.ndarray) -> None:
        """Check that every edge stays in its graph."""
        sizes = np.repeat(arrays["num_nodes"].astype(np.int64), arrays["num_edges"])
        wrong = ((edges < 0) | (edges >= sizes)).any(0)
        if wrong.any():
            column = int(np.argmax(wrong))
            raise DataError(
                f"{self.file}: edge_index, column {column}: {edges[:, column].tolist()}; allowed: "
                f"0 to {sizes[column] - 1}, the nodes of its graph "
                f"({np.count_nonzero(wrong)} such edges)"
            )

    def _features(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return numbers as they are, and a column for each value of a column of whole numbers."""
        if values.dtype.kind == "f":
            return values.astype(np.float32)

        def error(row: int, column: int, total: int, allowed: str) -> DataError:
            return DataError(
                f"{self.file}: {name}, row {row}, column {column}: {values[row, column]}; allowed: "
                f"{allowed} ({total} such)"
            )

        return one_hot(values, error)
