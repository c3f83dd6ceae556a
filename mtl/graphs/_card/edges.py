"""The card's numbers of edges, in one pass over an edge type, a chunk at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Touched:
    """Which nodes of a type have an edge into them, and which one out of them."""

    into: np.ndarray
    out: np.ndarray

    @classmethod
    def none(cls, num_nodes: int) -> "Touched":
        """Start with nodes that have no edges."""
        return cls(np.zeros(num_nodes, bool), np.zeros(num_nodes, bool))


def edge_facts(
    colptr: np.ndarray, row: np.ndarray, src: Touched, dst: Touched
) -> dict[str, float | int]:
    """Count edges, in-degrees, duplicates and self loops of one type, and mark its nodes.

    Args:
        colptr: of its CSC, [num_dst + 1].
        row: of its CSC, sorted within each destination.
        src: of the source type; the same object as `dst` where the types are the same.
        dst: of the destination type.
    """
    low, high = len(row), 0
    for start in range(0, len(colptr) - 1, CHUNK):
        degrees = np.diff(colptr[start : start + CHUNK + 1])
        low, high = min(low, int(degrees.min())), max(high, int(degrees.max()))
        dst.into[start : start + CHUNK] |= degrees > 0
    num_duplicates = num_loops = 0
    last = (-1, -1)
    for sources, destinations in pairs(colptr, row):
        src.out[sources] = True
        same = (sources[1:] == sources[:-1]) & (destinations[1:] == destinations[:-1])
        first = (int(sources[0]), int(destinations[0]))
        num_duplicates += int(np.count_nonzero(same)) + (first == last)
        last = (int(sources[-1]), int(destinations[-1]))
        if src is dst:
            num_loops += int(np.count_nonzero(sources == destinations))
    num_dst = len(colptr) - 1
    return {
        "num_edges": len(row),
        "mean_in_degree": len(row) / num_dst if num_dst else 0.0,
        "min_in_degree": low if num_dst else 0,
        "max_in_degree": high,
        "num_duplicates": num_duplicates,
        "num_self_loops": num_loops,
    }


def pairs(colptr: np.ndarray, row: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield sources and destinations of all edges in their order, a chunk at a time."""
    for start in range(0, len(row), CHUNK):
        stop = min(start + CHUNK, len(row))
        first = int(np.searchsorted(colptr, start, side="right")) - 1
        last = int(np.searchsorted(colptr, stop, side="left"))
        counts = np.diff(np.clip(colptr[first : last + 1], start, stop))
        destinations = np.repeat(np.arange(first, last, dtype=row.dtype), counts)
        yield np.asarray(row[start:stop]), destinations
