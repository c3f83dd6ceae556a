"""GraphWriter: a source's arrays into a graph folder, graph.json last."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mtl.graphs._agreement import LABEL_DTYPES
from mtl.graphs._chunks import Chunks, EdgeChunk, EdgeChunks, FeatureDtype, LabelSpec
from mtl.graphs._columns import value_columns
from mtl.graphs._edges import ORDER, EdgeSorter
from mtl.graphs._features import dtype_of, save_features, stored
from mtl.graphs._node_ids import save_ids
from mtl.graphs._npy import NpyFile, slices, sync
from mtl.graphs._report import Report, silent
from mtl.graphs._rules import SPLIT, TIME, checked, label_rule
from mtl.graphs.schema import (
    MANIFEST,
    ArrayInfo,
    CollectionInfo,
    EdgeInfo,
    EdgeType,
    GraphInfo,
    Kind,
    LabelInfo,
    NodeInfo,
    Owner,
    OwnerInfo,
    file_name,
    text,
)
from mtl.graphs.validate import validate_written

__all__ = ["Chunks", "EdgeChunk", "EdgeChunks", "GraphWriter", "LabelSpec", "Report"]


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
        report: Report = silent,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.report = folder, report
        self._orders: dict[EdgeType, Path] = {}
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
        what, node = f"nodes {node_type}", NodeInfo(num_nodes=num_nodes)
        if features is not None:
            path = self.folder / file_name("node", node_type, "features")
            array = save_features(path, num_nodes, features, self.report, f"{what}: features")
            node = replace(node, features=array)
        if time is not None:
            times = checked(time, "int64", TIME, f"{what}, time")
            node = replace(node, time=self._save(times, node_type, "time"))
        if ids is not None:
            node = replace(node, ids=save_ids(self.folder, node_type, ids))
        self.info.nodes[node_type] = node

    def add_collection(self, name: str, node_type: str, graph_ptr: ArrayLike) -> None:
        """Add many small graphs; labels and splits are added to them by this name.

        Args:
            name: of the collection, such as molecule.
            node_type: of their nodes, a type added before.
            graph_ptr: [num_graphs + 1] where the nodes of each graph begin, and the last ends.
        """
        assert name not in {*self.info.nodes, *self.info.collections}, f"{name!r} twice"
        pointer = np.asarray(graph_ptr, np.int64)
        with NpyFile(
            self.folder / file_name("collection", name, "graph_ptr"), "int64", pointer.shape
        ) as file:
            file.append(pointer)
            array = file.finish()
        self.info.collections[name] = CollectionInfo(
            num_graphs=len(pointer) - 1, node_type=node_type, graph_ptr=array
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
            owner: a node type, collection or edge type added before.
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
        where = f"{_where(owner)}, label {name!r}"
        array = checked(values, LABEL_DTYPES[kind], label_rule(kind, num_classes), where)
        spec = LabelSpec(
            kind=kind,
            num_classes=num_classes,
            classes=None if classes is None else tuple(classes),
            best=best or {},
        )
        labels[name] = _label(spec, self._save(array, owner, "label", name))

    def add_split(self, owner: Owner, name: str, values: ArrayLike) -> None:
        """Add a split of every node or edge: 0 none, 1 train, 2 val, 3 test.

        The first is the default. Values of edges are in the order in which the edges were given.
        """
        splits = self._owner(owner).splits
        assert name not in splits, f"split {name!r} twice"
        array = checked(values, "uint8", SPLIT, f"{_where(owner)}, split {name!r}")
        splits[name] = self._save(array, owner, "split", name)

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
        if features is not None:
            features = stored(features)
        self.stream_edges(
            edge_type,
            lambda: iter([EdgeChunk(src, dst, features, weight, time)]),
            num_features=0 if features is None else features.shape[1],
            features_dtype="float32" if features is None else dtype_of(features),
            weight=weight is not None,
            time=time is not None,
            reverse=reverse,
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
        assert edge_type not in self._orders, f"edge type {edge_type} twice"
        labels = labels or {}
        sorter = EdgeSorter(
            self.folder,
            edge_type,
            self.info.nodes[edge_type[0]].num_nodes,
            self.info.nodes[edge_type[2]].num_nodes,
            value_columns(num_features, features_dtype, weight, time, labels, splits),
            self.report,
        )
        arrays = sorter.sort(chunks)
        self._orders[edge_type] = sorter.path(ORDER)
        self.info.edges.append(
            EdgeInfo(
                edge_type=edge_type,
                num_edges=arrays["row",].shape[0],
                colptr=arrays["colptr",],
                row=arrays["row",],
                weight=arrays.get(("weight",)),
                features=arrays.get(("features",)),
                time=arrays.get(("time",)),
                labels={name: _label(spec, arrays["label", name]) for name, spec in labels.items()},
                splits={name: arrays["split", name] for name in splits},
                reverse=reverse,
            )
        )

    def finish(self) -> None:
        """Write graph.json, bring everything to the disk and validate it.

        Raises:
            DataError: what was added is no valid graph.
        """
        for path in self._orders.values():
            path.unlink()
        with (self.folder / MANIFEST).open("w") as file:
            file.write(self.info.to_json())
            file.flush()
            os.fsync(file.fileno())
        sync(self.folder)
        validate_written(self.folder, self.report)

    def _owner(self, owner: Owner) -> OwnerInfo:
        if isinstance(owner, str):
            return self.info.nodes.get(owner) or self.info.collections[owner]
        return next(edge for edge in self.info.edges if edge.edge_type == owner)

    def _save(self, values: np.ndarray, owner: Owner, *name: str) -> ArrayInfo:
        """Write one row for each node or edge; those of edges into the order of the edges."""
        kind, parts = ("edge", owner) if not isinstance(owner, str) else ("node", (owner,))
        kind = "collection" if owner in self.info.collections else kind
        path = self.folder / file_name(kind, *parts, *name)
        order = None if isinstance(owner, str) else np.load(self._orders[owner], mmap_mode="r")
        assert order is None or len(order) == len(values), f"{path.name}: {len(values)} rows"
        with NpyFile(path, values.dtype.name, values.shape) as file:
            for part in slices(len(values), 8 + values[:1].nbytes):
                file.append(values[part] if order is None else values[order[part]])
            return file.finish()


def _label(spec: LabelSpec, array: ArrayInfo) -> LabelInfo:
    return LabelInfo(
        kind=spec.kind,
        num_classes=spec.num_classes,
        missing="nan" if spec.kind == "regression" else -1,
        best=dict(spec.best),
        array=array,
        classes=spec.classes,
    )


def _where(owner: Owner) -> str:
    return f"{'nodes' if isinstance(owner, str) else 'edges'} {text(owner)}"
