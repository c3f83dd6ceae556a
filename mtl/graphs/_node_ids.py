"""The user's ids of nodes, from NumPy or Arrow, into the arrays of a graph folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mtl.errors import DataError
from mtl.graphs._npy import NpyFile
from mtl.graphs.schema import IdsInfo, file_name

STRINGS = (pa.string(), pa.large_string(), pa.string_view())


def save_ids(folder: Path, node_type: str, ids: Any) -> IdsInfo:
    """Write ids; whoever validates the folder sees whether they are all different.

    Args:
        folder: of the graph.
        node_type: whose nodes they name.
        ids: whole numbers or strings, of NumPy or Arrow, or a list.

    Raises:
        DataError: an id is missing, or is no int64.
    """
    chunks = _arrow(ids, f"ids of {node_type!r}")
    num_nodes = sum(map(len, chunks))
    path = folder / file_name("node", node_type, "ids")
    if all(chunk.type == pa.int64() for chunk in chunks):
        with NpyFile(path, "int64", (num_nodes,)) as values:
            for chunk in chunks:
                values.append(chunk.to_numpy())
            return IdsInfo(kind="int", values=values.finish())
    parts = [_bytes_of(chunk) for chunk in chunks]
    num_bytes = sum(len(data) for _, data in parts)
    beginnings = folder / file_name("node", node_type, "ids", "offsets")
    with (
        NpyFile(path, "uint8", (num_bytes,)) as values,
        NpyFile(beginnings, "int64", (num_nodes + 1,)) as offsets,
    ):
        written = 0
        offsets.append(np.zeros(1, np.int64))
        for ends, data in parts:
            values.append(data)
            offsets.append(ends + written)
            written += len(data)
        return IdsInfo(kind="string", values=values.finish(), offsets=offsets.finish())


def _arrow(ids: Any, what: str) -> list[pa.Array]:
    """Return ids as int64 or large_string; no ids at all are int64."""
    allowed = "allowed: whole numbers or strings"
    try:
        array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids)
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if not len(array) or pa.types.is_integer(array.type):
            array = array.cast(pa.int64())
        elif array.type in STRINGS:
            array = array.cast(pa.large_string())
        else:
            raise DataError(f"{what}: {array.type}; {allowed}")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{what}: {error}; {allowed}") from error
    if array.null_count:
        row = array.is_null().index(True).as_py()
        more = f" (and {array.null_count - 1} more)" if array.null_count > 1 else ""
        raise DataError(f"{what}: row {row}: missing; allowed: an id of every node{more}")
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


def _bytes_of(strings: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return where each string ends, and the bytes of all, without a copy."""
    _, offsets, data = strings.buffers()
    if not len(strings):
        return np.empty(0, np.int64), np.empty(0, np.uint8)
    start = strings.offset
    places = np.frombuffer(offsets, np.int64)[start : start + len(strings) + 1]
    text = np.frombuffer(data, np.uint8)[places[0] : places[-1]] if data else np.empty(0, np.uint8)
    return places[1:] - places[0], text
