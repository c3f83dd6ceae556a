"""GraphWriter: a source's arrays into a graph folder, graph.json last."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtl.errors import DataError
from mtl.graphs._agreement import LABEL_DTYPES, row_dtype
from mtl.graphs._chunks import Chunks, EdgeChunk, EdgeChunks, FeatureDtype, LabelSpec
from mtl.graphs.schema import (
    MANIFEST,
    ArrayInfo,
    EdgeInfo,
    EdgeType,
    GraphInfo,
    IdsInfo,
    Kind,
    LabelInfo,
    NodeInfo,
    Owner,
    OwnerInfo,
    file_name,
    text,
)
from mtl.graphs.validate import validate

__all__ = ["Chunks", "EdgeChunk", "EdgeChunks", "GraphWriter", "LabelSpec", "Report", "sync_folder"]

Report = Callable[[str, int, int], None]
"""Told what is done, how much of it and of how much (0 where that is not known)."""


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""


class GraphWriter:
    """Write one graph into an empty folder.

    Args:
        folder: a temporary one; whoever opens it under its final name finds a whole graph.
        name: of the graph.
        source: the `graph` section that made it, for the reader.
        fingerprint: of that source.
        report: called with (what, done, total) while long work goes on; total 0 is not known.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        source: Mapping[str, Any] | None = None,
        fingerprint: str = "",
        report: Report = _silent,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._report = folder, report
        self._order: dict[EdgeType, np.ndarray] = {}
        self.info = GraphInfo(
            name=name, source=dict(source or {}), source_fingerprint=fingerprint, nodes={}, edges=[]
        )

    def add_nodes(
        self,
        node_type: str,
        num_nodes: int,
        features: np.ndarray | Chunks | None = None,
        *,
        ids: Any = None,
        time: ArrayLike | None = None,
    ) -> None:
        """Add a node type.

        Args:
            node_type: its name.
            num_nodes: how many there are.
            features: [num_nodes, num_features], uint16 holding bfloat16; or in chunks.
            ids: the user's own, all different: whole numbers or strings, of NumPy or Arrow.
            time: when each came to be, whole numbers of any unit.
        """
        assert node_type not in self.info.nodes, f"node type {node_type!r} twice"
        if isinstance(features, Chunks):
            features = np.concatenate([*features.chunks])
        array = None if features is None else self._save(features, "node", node_type, "features")
        self.info.nodes[node_type] = NodeInfo(
            num_nodes=num_nodes,
            features=array,
            ids=None if ids is None else self._ids(node_type, ids),
            time=None
            if time is None
            else self._save(_cast(time, "int64", "time"), "node", node_type, "time"),
        )

    def _ids(self, node_type: str, ids: Any) -> IdsInfo:
        values = ids.to_pylist() if hasattr(ids, "to_pylist") else np.asarray(ids).tolist()
        if not values or isinstance(values[0], int):
            array = self._save(np.array(values, np.int64), "node", node_type, "ids")
            return IdsInfo(kind="int", values=array)
        words = [value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, words)])
        return IdsInfo(
            kind="string",
            values=self._save(np.frombuffer(b"".join(words), np.uint8), "node", node_type, "ids"),
            offsets=self._save(offsets, "node", node_type, "id_offsets"),
        )

    def add_label(
        self,
        owner: Owner,
        name: str,
        kind: Kind,
        values: ArrayLike,
        *,
        num_classes: int = 1,
        classes: Sequence[str] | None = None,
        best: Mapping[str, float] | None = None,
    ) -> None:
        """Add a label of every node or edge of a type; -1 is missing, NaN in a regression.

        Args:
            owner: a node type or edge type added before.
            name: of the label.
            kind: class [rows], multilabel [rows, num_classes], regression [rows].
            values: converted to int32, int8 or float32; those of edges in the order in which the
                edges were given.
            num_classes: classes, or columns of a multilabel; 1 for a regression.
            classes: their names, where they have some.
            best: metric name -> best reachable score, where the source knows it.
        """
        labels = self._owner(owner).labels
        assert name not in labels, f"label {name!r} twice"
        array = _cast(values, LABEL_DTYPES[kind], f"label {name!r}")
        labels[name] = LabelInfo(
            kind=kind,
            num_classes=num_classes,
            missing="nan" if kind == "regression" else -1,
            best=dict(best or {}),
            array=self._save(self._sorted(owner, array), *_parts(owner), "label", name),
            classes=None if classes is None else tuple(classes),
        )

    def add_split(self, owner: Owner, name: str, values: ArrayLike) -> None:
        """Add a split of every node or edge: 0 none, 1 train, 2 val, 3 test.

        The first is the default. Values of edges are in the order in which the edges were given.
        """
        splits = self._owner(owner).splits
        assert name not in splits, f"split {name!r} twice"
        array = self._sorted(owner, _cast(values, "uint8", f"split {name!r}"))
        splits[name] = self._save(array, *_parts(owner), "split", name)

    def add_edges(
        self,
        edge_type: EdgeType,
        src: ArrayLike,
        dst: ArrayLike,
        *,
        features: np.ndarray | None = None,
        weight: ArrayLike | None = None,
        time: ArrayLike | None = None,
        reverse: EdgeType | None = None,
    ) -> None:
        """Add an edge type, its edges in any order: they are sorted by dst, then src.

        Edges between the same two nodes keep their order. Values are in the order of src and dst.

        Args:
            edge_type: (source node type, relation, destination node type), types added before.
            src: [num_edges] source of each edge.
            dst: [num_edges] destination of each edge.
            features: [num_edges, num_features], uint16 holding bfloat16.
            weight: how likely an edge is drawn, compared with the others of its destination.
            time: when each came to be, whole numbers of any unit.
            reverse: the relation that holds the same edges the other way round.
        """
        num_src = self.info.nodes[edge_type[0]].num_nodes
        num_dst = self.info.nodes[edge_type[2]].num_nodes
        src = _checked(src, num_src, f"edges {text(edge_type)}: source")
        dst = _checked(dst, num_dst, f"edges {text(edge_type)}: destination")
        assert src.shape == dst.shape, f"{src.shape} sources, {dst.shape} destinations"
        colptr = np.zeros(num_dst + 1, np.int64)
        np.cumsum(np.bincount(dst, minlength=num_dst), out=colptr[1:])
        order = self._order[edge_type] = np.lexsort((src, dst))

        def save(values: ArrayLike | None, dtype: str | None, name: str) -> ArrayInfo | None:
            if values is None:
                return None
            array = np.asarray(values) if dtype is None else _cast(values, dtype, name)
            return self._save(array[order], "edge", *edge_type, name)

        row = save(src, row_dtype(num_src), "row")
        assert row
        self.info.edges.append(
            EdgeInfo(
                edge_type=edge_type,
                num_edges=len(src),
                colptr=self._save(colptr, "edge", *edge_type, "colptr"),
                row=row,
                features=save(features, None, "features"),
                weight=save(weight, "float32", "weight"),
                time=save(time, "int64", "time"),
                reverse=reverse,
            )
        )

    def stream_edges(
        self,
        edge_type: EdgeType,
        chunks: EdgeChunks,
        *,
        num_features: int = 0,
        features_dtype: FeatureDtype = "float32",
        weight: bool = False,
        time: bool = False,
        labels: Mapping[str, LabelSpec] | None = None,
        splits: Sequence[str] = (),
        reverse: EdgeType | None = None,
    ) -> None:
        """Add an edge type whose edges may exceed the memory: the same bytes as add_edges.

        Args:
            edge_type: (source node type, relation, destination node type), types added before.
            chunks: called twice, each time for the same edges in the same order, in chunks of any
                size.
            num_features: columns of the chunks' features; 0 where they have none.
            features_dtype: float32, float16 or bfloat16; chunks of the last are uint16.
            weight: whether the chunks have weights.
            time: whether they have times.
            labels: those that the chunks have.
            splits: names of those that the chunks have; the first is the default.
            reverse: the relation that holds the same edges the other way round.

        Raises:
            DataError: an edge is wrong, or the second call gave other edges than the first.
        """
        parts = list(chunks())

        def join(arrays: list[Any]) -> np.ndarray:
            return np.concatenate([np.asarray(array) for array in arrays])

        self.add_edges(
            edge_type,
            join([part.src for part in parts]),
            join([part.dst for part in parts]),
            features=join([part.features for part in parts]) if num_features else None,
            weight=join([part.weight for part in parts]) if weight else None,
            time=join([part.time for part in parts]) if time else None,
            reverse=reverse,
        )
        for name, spec in (labels or {}).items():
            self.add_label(
                edge_type,
                name,
                spec.kind,
                join([part.labels[name] for part in parts]),
                num_classes=spec.num_classes,
                classes=spec.classes,
                best=spec.best,
            )
        for name in splits:
            self.add_split(edge_type, name, join([part.splits[name] for part in parts]))

    def _owner(self, owner: Owner) -> OwnerInfo:
        if isinstance(owner, str):
            return self.info.nodes[owner]
        return next(edge for edge in self.info.edges if edge.edge_type == owner)

    def _sorted(self, owner: Owner, values: np.ndarray) -> np.ndarray:
        return values if isinstance(owner, str) else values[self._order[owner]]

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


def _checked(values: ArrayLike, count: int, what: str) -> np.ndarray:
    ids = np.asarray(values)
    if not ids.size:
        return np.empty(0, np.int64)
    assert ids.dtype.kind in "iu", f"{what} is of {ids.dtype}"
    if not 0 <= ids.min() <= ids.max() < count:
        edge = int(np.flatnonzero((ids < 0) | (ids >= count))[0])
        raise DataError(f"{what} of edge {edge} is {ids[edge]}; allowed: 0 to {count - 1}")
    return ids


def _parts(owner: Owner) -> tuple[str, ...]:
    return ("node", owner) if isinstance(owner, str) else ("edge", *owner)
