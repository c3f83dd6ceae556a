"""What a graph folder must hold before anything is sampled from it: PyG segfaults otherwise.

Files are checked at every opening; what the arrays hold, and their SHA-256, once per machine.
Arrays are read in chunks: a graph may exceed RAM.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtl.errors import DataError
from mtl.graphs.files import check_files, open_array
from mtl.graphs.schema import MANIFEST, ArrayInfo, EdgeInfo, GraphInfo, NodeInfo

CHUNK_BYTES = 1 << 25


def validate(folder: Path) -> GraphInfo:
    """Check all of a graph folder.

    Raises:
        DataError: names the file, the row, the value and what is allowed.
    """
    info = check_files(folder)
    for array in info.arrays():
        _check_hash(folder / array.file, array)
    for node in info.nodes.values():
        _check_node(folder, node)
    for edge in info.edges:
        _check_edges(folder, edge, info.nodes[edge.edge_type[0]].num_nodes)
    return info


def _check_hash(path: Path, array: ArrayInfo) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != array.sha256:
        raise DataError(f"{path}: SHA-256 is {found}; {MANIFEST} says {array.sha256}: it changed")


def _check_node(folder: Path, node: NodeInfo) -> None:
    if node.features:
        finite = _finite_bits if node.features.dtype == "bfloat16" else np.isfinite
        _check_values(folder, node.features, finite, "finite numbers")
    for label in node.labels.values():
        if label.kind == "regression":
            _check_values(folder, label.array, lambda x: ~np.isinf(x), "finite numbers and NaN")
        else:
            top = label.num_classes - 1 if label.kind == "class" else 1
            _check_values(folder, label.array, _between(-1, top), f"0 to {top}, or -1 for missing")
    for split in node.splits.values():
        allowed = "0 none, 1 train, 2 val, 3 test"
        _check_values(folder, split, _between(0, 3), allowed)


def _check_edges(folder: Path, edge: EdgeInfo, num_src: int) -> None:
    path = folder / edge.colptr.file
    colptr = open_array(folder, edge.colptr)
    for row, wanted in ((0, 0), (len(colptr) - 1, edge.num_edges)):
        if colptr[row] != wanted:
            raise DataError(f"{path}: row {row}: {colptr[row]}; allowed: {wanted}")
    for start, chunk in _chunks(colptr, overlap=1):
        falls = chunk[1:] < chunk[:-1]
        if falls.any():
            row = int(np.argmax(falls)) + 1
            what = f"{chunk[row]}; allowed: at least {chunk[row - 1]}, the row before"
            raise DataError(f"{path}: row {start + row}: {what}")
    top = num_src - 1
    _check_values(folder, edge.row, _between(0, top), f"0 to {top} (nodes of the source type)")


def _check_values(
    folder: Path, info: ArrayInfo, valid: Callable[[np.ndarray], np.ndarray], allowed: str
) -> None:
    for start, chunk in _chunks(open_array(folder, info)):
        good = valid(chunk)
        if not good.all():
            row, *column = (int(i) for i in np.argwhere(~good)[0])
            value = _shown(chunk[(row, *column)], info.dtype)
            place = f"row {start + row}" + "".join(f", column {i}" for i in column)
            raise DataError(f"{folder / info.file}: {place}: {value}; allowed: {allowed}")


def _chunks(array: np.ndarray, overlap: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    row_bytes = max(array[:1].nbytes, 1)
    step = max(CHUNK_BYTES // row_bytes, 1)
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step + overlap])


def _between(low: int, high: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: (values >= low) & (values <= high)


def _finite_bits(bits: np.ndarray) -> np.ndarray:
    """Say where bfloat16 is finite: its exponent is not all ones."""
    return np.asarray((bits & 0x7F80) != 0x7F80)


def _shown(value: Any, dtype: str) -> str:
    if dtype == "bfloat16":
        value = (np.asarray(value, np.uint32) << 16).view(np.float32)[()]
    return str(value)
