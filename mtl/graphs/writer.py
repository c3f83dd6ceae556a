"""GraphWriter: a source's arrays into a graph folder, graph.json last."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtl.errors import DataError
from mtl.graphs.schema import (
    MANIFEST,
    ArrayInfo,
    EdgeInfo,
    EdgeType,
    GraphInfo,
    Kind,
    LabelInfo,
    NodeInfo,
    file_name,
)
from mtl.graphs.validate import validate

LABEL_DTYPES: dict[str, str] = {"class": "int32", "multilabel": "int8", "regression": "float32"}


class GraphWriter:
    """Write one graph into an empty folder.

    Args:
        folder: a temporary one; whoever opens it under its final name finds a whole graph.
        name: of the graph.
        source: the `graph` section that made it, for the reader.
        fingerprint: of that source.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        source: Mapping[str, Any] | None = None,
        fingerprint: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.info = GraphInfo(
            name=name, source=dict(source or {}), source_fingerprint=fingerprint, nodes={}, edges=[]
        )

    def add_nodes(self, node_type: str, num_nodes: int, features: np.ndarray | None = None) -> None:
        """Add a node type; features are [num_nodes, num_features], uint16 holding bfloat16."""
        assert node_type not in self.info.nodes, f"node type {node_type!r} twice"
        array = None if features is None else self._save(features, "node", node_type, "features")
        self.info.nodes[node_type] = NodeInfo(num_nodes=num_nodes, features=array)

    def add_label(
        self,
        node_type: str,
        name: str,
        kind: Kind,
        values: ArrayLike,
        *,
        num_classes: int = 1,
        best: Mapping[str, float] | None = None,
    ) -> None:
        """Add a label of every node; -1 is missing, NaN in a regression.

        Args:
            node_type: a type added before.
            name: of the label.
            kind: class [num_nodes], multilabel [num_nodes, num_classes], regression [num_nodes].
            values: converted to int32, int8 or float32.
            num_classes: classes, or columns of a multilabel; 1 for a regression.
            best: metric name -> best reachable score, where the source knows it.
        """
        labels = self.info.nodes[node_type].labels
        assert name not in labels, f"label {name!r} twice"
        array = self._save(
            _cast(values, LABEL_DTYPES[kind], f"label {name!r}"), "node", node_type, "label", name
        )
        labels[name] = LabelInfo(
            kind=kind,
            num_classes=num_classes,
            missing="nan" if kind == "regression" else -1,
            best=dict(best or {}),
            array=array,
        )

    def add_split(self, node_type: str, name: str, values: ArrayLike) -> None:
        """Add a split of every node: 0 none, 1 train, 2 val, 3 test. The first is the default."""
        splits = self.info.nodes[node_type].splits
        assert name not in splits, f"split {name!r} twice"
        array = _cast(values, "uint8", f"split {name!r}")
        splits[name] = self._save(array, "node", node_type, "split", name)

    def add_edges(self, edge_type: EdgeType, src: ArrayLike, dst: ArrayLike) -> None:
        """Add an edge type, its edges in any order: they are sorted by dst, then src.

        Args:
            edge_type: (source node type, relation, destination node type), types added before.
            src: [num_edges] source of each edge.
            dst: [num_edges] destination of each edge.
        """
        num_src = self.info.nodes[edge_type[0]].num_nodes
        num_dst = self.info.nodes[edge_type[2]].num_nodes
        what = "-".join(edge_type)
        src = _ids(src, num_src, f"edges {what}: source")
        dst = _ids(dst, num_dst, f"edges {what}: destination")
        assert src.shape == dst.shape, f"{src.shape} sources, {dst.shape} destinations"
        colptr = np.zeros(num_dst + 1, np.int64)
        np.cumsum(np.bincount(dst, minlength=num_dst), out=colptr[1:])
        edges = dst.astype(np.int64)
        edges *= num_src
        edges += src
        edges.sort()  # one sort of (dst, src) pairs: 10 times quicker than lexsort
        row = (edges % max(num_src, 1)).astype(np.int32 if num_src <= 2**31 else np.int64)
        self.info.edges.append(
            EdgeInfo(
                edge_type=edge_type,
                num_edges=len(row),
                colptr=self._save(colptr, "edge", *edge_type, "colptr"),
                row=self._save(row, "edge", *edge_type, "row"),
            )
        )

    def finish(self) -> None:
        """Write graph.json, bring everything to the disk and validate it.

        Raises:
            DataError: what was added is no valid graph.
        """
        with (self.folder / MANIFEST).open("w") as file:
            file.write(self.info.to_json())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.folder)
        validate(self.folder)

    def _save(self, array: np.ndarray, *parts: str) -> ArrayInfo:
        path = self.folder / file_name(*parts)
        with path.open("x+b") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        dtype: Any = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
        return ArrayInfo(file=path.name, dtype=dtype, shape=array.shape, sha256=digest)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cast(values: ArrayLike, dtype: str, what: str) -> np.ndarray:
    """Convert, and refuse what does not fit: a wrapped class would be another one."""
    array = np.asarray(values)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if dtype != "float32" and not np.array_equal(cast, array):
        row = int(np.flatnonzero((cast != array).reshape(len(array), -1).any(axis=1))[0])
        raise DataError(f"{what}: row {row}: {array[row]} is no {dtype}; whole numbers are allowed")
    return cast


def _ids(values: ArrayLike, count: int, what: str) -> np.ndarray:
    ids = np.asarray(values)
    if not ids.size:
        return np.empty(0, np.int64)
    assert ids.dtype.kind in "iu", f"{what} is of {ids.dtype}"
    if not 0 <= ids.min() <= ids.max() < count:
        edge = int(np.flatnonzero((ids < 0) | (ids >= count))[0])
        raise DataError(f"{what} of edge {edge} is {ids[edge]}; allowed: 0 to {count - 1}")
    return ids
