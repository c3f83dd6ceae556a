"""The files of a graph folder: each is there, as graph.json says, and inside the folder."""

import struct
from pathlib import Path

import numpy as np

from mtl.errors import DataError
from mtl.graphs.schema import (
    MANIFEST,
    ArrayInfo,
    EdgeInfo,
    GraphInfo,
    LabelInfo,
    NodeInfo,
    read_schema,
)


def check_files(folder: Path) -> GraphInfo:
    """Check graph.json and that each array is there as it says; reads no array.

    Raises:
        DataError: names the key or file and what is allowed.
    """
    info = read_schema(folder)
    for node_type, node in info.nodes.items():
        _check_node_schema(f"{folder / MANIFEST}: nodes.{node_type}", node)
    for index, edge in enumerate(info.edges):
        _check_edge_schema(f"{folder / MANIFEST}: edges.{index}", edge, info)
    for array in info.arrays():
        _check_file(folder, array)
    return info


def open_array(folder: Path, info: ArrayInfo) -> np.ndarray:
    """Map a checked array: pages shared with every process, writes private."""
    array: np.ndarray = np.load(folder / info.file, mmap_mode="c", allow_pickle=False)
    return array


def _check_node_schema(where: str, node: NodeInfo) -> None:
    num_nodes = node.num_nodes
    if node.features:
        width = node.features.shape[1:2]
        dtypes = ("float32", "float16", "bfloat16")
        _check_array(f"{where}.features", node.features, dtypes, (num_nodes, *(width or (1,))))
    for name, label in node.labels.items():
        _check_label_schema(f"{where}.labels.{name}", label, num_nodes)
    for name, split in node.splits.items():
        _check_array(f"{where}.splits.{name}", split, ("uint8",), (num_nodes,))


def _check_label_schema(where: str, label: LabelInfo, num_nodes: int) -> None:
    dtype = {"class": "int32", "multilabel": "int8", "regression": "float32"}[label.kind]
    columns = (label.num_classes,) if label.kind == "multilabel" else ()
    _check_array(f"{where}.array", label.array, (dtype,), (num_nodes, *columns))
    if label.kind == "regression" and label.num_classes != 1:
        raise DataError(f"{where}.num_classes: {label.num_classes}; a regression has 1")
    missing = "nan" if label.kind == "regression" else -1
    if label.missing != missing:
        raise DataError(f"{where}.missing: {label.missing!r}; a {label.kind} label has {missing!r}")


def _check_edge_schema(where: str, edge: EdgeInfo, info: GraphInfo) -> None:
    for node_type in (edge.edge_type[0], edge.edge_type[2]):
        if node_type not in info.nodes:
            raise DataError(f"{where}.edge_type: no node type {node_type!r} ({list(info.nodes)})")
    if [other.edge_type for other in info.edges].count(edge.edge_type) > 1:
        raise DataError(f"{where}.edge_type: {edge.edge_type} stands twice")
    num_dst = info.nodes[edge.edge_type[2]].num_nodes
    _check_array(f"{where}.colptr", edge.colptr, ("int64",), (num_dst + 1,))
    _check_array(f"{where}.row", edge.row, ("int32", "int64"), (edge.num_edges,))


def _check_array(
    where: str, array: ArrayInfo, dtypes: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    if array.dtype not in dtypes:
        raise DataError(f"{where}.dtype: {array.dtype}; allowed: {', '.join(dtypes)}")
    if array.shape != shape:
        raise DataError(f"{where}.shape: {list(array.shape)}; the counts say {list(shape)}")


def _check_file(folder: Path, array: ArrayInfo) -> None:
    path = folder / array.file
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; {MANIFEST} names it")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{path}: leads to {path.resolve()}, outside the graph folder")
        _check_header(path, array)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _check_header(path: Path, array: ArrayInfo) -> None:
    """Compare the header's text: what we write is what we map, and no header is ever parsed."""
    stored = np.dtype(array.stored)
    wanted = f"{{'descr': {stored.str!r}, 'fortran_order': False, 'shape': {array.shape}, }}"
    with path.open("rb") as file:
        prefix = file.read(10)
        if len(prefix) < 10 or prefix[:8] != b"\x93NUMPY\x01\x00":
            raise DataError(f"{path}: not a .npy file of version 1.0")
        header = file.read(*struct.unpack("<H", prefix[8:])).decode("latin1")
        offset = file.tell()
    if header.rstrip() != wanted:
        raise DataError(f"{path}: its header is {header.rstrip()[:200]!r}; allowed: {wanted!r}")
    size = offset + stored.itemsize * int(np.prod(array.shape, dtype=object))
    if path.stat().st_size != size:
        raise DataError(f"{path}: {path.stat().st_size} bytes; {array.shape} takes {size}")
