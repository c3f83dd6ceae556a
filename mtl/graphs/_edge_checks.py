"""What the arrays of an edge type must hold before anything is sampled: PyG segfaults otherwise."""

import numpy as np

from mtl.errors import DataError
from mtl.graphs._contents import Contents
from mtl.graphs._npy import slices
from mtl.graphs._rules import between
from mtl.graphs.schema import MANIFEST, ArrayInfo, EdgeInfo, GraphInfo, text

CHECKING_BYTES = 64
"""Of an edge while it is checked."""
_A, _B, _C = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xBF58476D1CE4E5B9], np.uint64)

Sums = tuple[int, int]
"""Two numbers of a set of edges that swap when all edges are turned round."""


def check_edges(contents: Contents, info: GraphInfo) -> None:
    """Check the topology of every edge type.

    Raises:
        DataError: a pointer falls, a source is out of range or out of order, or what is said to be
            a reverse holds other edges.
    """
    turned = {edge.edge_type for edge in info.edges if edge.reverse}
    turned |= {edge.reverse for edge in info.edges if edge.reverse}
    sums = {
        edge.edge_type: _check_topology(contents, edge, info, edge.edge_type in turned)
        for edge in info.edges
    }
    for index, edge in enumerate(info.edges):
        if edge.reverse and sums[edge.edge_type] != sums[edge.reverse][::-1]:
            raise DataError(
                f"{contents.folder / MANIFEST}: edges.{index}.reverse: {text(edge.reverse)}; "
                f"allowed: what holds the edges of {text(edge.edge_type)}, the other way round"
            )


def check_pointer(contents: Contents, info: ArrayInfo, last: int) -> np.ndarray:
    """Return an array of places that starts at 0, ends at `last` and never falls.

    Raises:
        DataError: it does not.
    """
    pointer = contents.whole(info)
    good = np.ones(len(pointer), bool)
    good[1:] = pointer[1:] >= pointer[:-1]
    good[0] &= pointer[0] == 0
    good[-1] &= pointer[-1] == last
    wrong = contents.wrong(info, f"0 in the first row, {last} in the last, never falling")
    wrong.look(good, pointer, 0)
    wrong.stop()
    return pointer


def _check_topology(contents: Contents, edge: EdgeInfo, info: GraphInfo, turned: bool) -> Sums:
    """Check colptr and row; return sums if they are wanted."""
    colptr = check_pointer(contents, edge.colptr, edge.num_edges)
    rule = between(0, info.nodes[edge.edge_type[0]].num_nodes - 1)
    there, back, last = 0, 0, 0
    wrong = contents.wrong(edge.row, f"{rule.allowed} (source nodes), ascending in a destination")
    for start, row in contents.chunks(edge.row, slices(edge.num_edges, CHECKING_BYTES)):
        dst, is_first = _destinations(colptr, start, start + len(row))
        rises = row >= np.concatenate([[last], row[:-1]])
        wrong.look(rule.valid(row) & (rises | is_first), row, start)
        last = row[-1]
        if turned:
            there, back = there + _sum(row, dst), back + _sum(dst, row)
    wrong.stop()
    return there % 2**64, back % 2**64


def _destinations(colptr: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the destination of each of these edges, and whether it is the first of it."""
    first = int(np.searchsorted(colptr, start, side="right")) - 1
    last = int(np.searchsorted(colptr, stop, side="left"))
    places = np.clip(colptr[first : last + 1], start, stop)
    dst = np.repeat(np.arange(first, last), np.diff(places))
    begins = colptr[first:last]
    is_first = np.zeros(stop - start, bool)
    is_first[begins[(begins >= start) & (begins < stop)] - start] = True
    return dst, is_first


def _sum(src: np.ndarray, dst: np.ndarray) -> int:
    """Add up a hash of every pair: the order does not count, each pair does."""
    mixed = src.astype(np.uint64) * _A + dst.astype(np.uint64) * _B
    mixed ^= mixed >> np.uint64(32)
    mixed *= _C
    mixed ^= mixed >> np.uint64(29)
    return int(np.add.reduce(mixed))
