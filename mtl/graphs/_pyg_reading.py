"""Many graphs of PyG, read once from the first to the last: one array of each key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch_geometric.data import Data, Dataset

from mtl.errors import ConfigError, DataError
from mtl.graphs._pyg_values import array_of, shown
from mtl.graphs._report import Report, silent

KEYS = ("edge_index", "x", "edge_attr", "edge_weight", "y")
CHUNK = 4096


@dataclass(frozen=True)
class Many:
    """What many graphs hold, one after the other.

    Attributes:
        name: of the data set.
        starts: number of the first graph of each part.
        num_nodes: of each graph.
        num_rows: of each graph, for each key.
        arrays: rows of all graphs; of edge_index, columns, counted from 0 in each graph.
        others: what graph 0 has besides.
    """

    name: str
    starts: dict[str, int] = field(default_factory=dict)
    num_nodes: list[int] = field(default_factory=list)
    num_rows: dict[str, list[int]] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    def error(self, number: int, found: str, allowed: str) -> DataError:
        """Return the error that says what is wrong with a graph."""
        first, part = max((first, part) for part, first in self.starts.items() if first <= number)
        what = f"graph {number - first}{f' of {part}' if part else ''}"
        return DataError(f"{self.name}: {what}: {found}; allowed: {allowed}")


class Reader:
    """Reads edge_index, x, edge_attr, edge_weight and y.

    Graphs are asked for one by one, which every data set can do: PyG's collated storage is private,
    and there is none where graphs are read from a disk. A slice of them is asked for at a time,
    because a data set keeps each graph that it was asked for; what is held is PyG's data and ours.

    Args:
        name: of the data set, for messages.
        prepare: changes each graph before it is read.
        report: is told how many graphs are read.
    """

    def __init__(
        self, name: str, prepare: Callable[[Data], Data] | None = None, report: Report = silent
    ) -> None:
        self._many, self._prepare, self._report = Many(name), prepare, report
        self._first: dict[str, np.ndarray] = {}

    def read(self, parts: Mapping[str, Dataset]) -> Many:
        """Return all graphs of some data sets.

        Raises:
            ConfigError: they are no graphs of one type of nodes.
            DataError: there is none, or one differs from the first in more than its size.
        """
        many, total = self._many, sum(len(dataset) for dataset in parts.values())
        if not total:
            raise DataError(f"{many.name}: has no graphs")
        chunks: dict[str, list[np.ndarray]] = {}
        for part, dataset in parts.items():
            many.starts[part] = len(many.num_nodes)
            for start in range(0, len(dataset), CHUNK):
                for key, array in self._joined(dataset[start : start + CHUNK]).items():
                    chunks.setdefault(key, []).append(array)
                self._report("graphs", len(many.num_nodes), total)
        for key in list(chunks):
            many.arrays[key] = np.concatenate(chunks.pop(key), _axis(key))
        return many

    def _joined(self, graphs: Dataset) -> dict[str, np.ndarray]:
        held: dict[str, list[np.ndarray]] = {}
        for graph in graphs:
            for key, array in self._arrays(graph).items():
                held.setdefault(key, []).append(array)
                self._many.num_rows.setdefault(key, []).append(array.shape[_axis(key)])
        return {key: np.concatenate(arrays, _axis(key)) for key, arrays in held.items()}

    def _arrays(self, graph: Data) -> dict[str, np.ndarray]:
        """Return what one graph holds, and count its nodes."""
        number = len(self._many.num_nodes)
        if not isinstance(graph, Data):
            what = f"{self._many.name} is many graphs of {type(graph).__name__}"
            raise ConfigError(f"graph.dataset: {what}; allowed: many of Data, or a single graph")
        graph = self._prepare(graph) if self._prepare else graph
        values = dict(graph.items())
        numbers = {key: values[key] for key in KEYS if isinstance(values.get(key), int | float)}
        found = {key: array_of(values.get(key)) for key in KEYS}
        found |= {key: np.array([number]) for key, number in numbers.items()}
        arrays = {key: np.atleast_1d(array) for key, array in found.items() if array is not None}
        if (num_nodes := graph.num_nodes) is None:
            allowed = "x, edge_index or num_nodes, which say how many nodes it has"
            raise self._many.error(number, f"has {', '.join(arrays) or 'nothing'}", allowed)
        self._many.num_nodes.append(int(num_nodes))
        if not number:
            self._first = arrays
            self._many.others.update({k: v for k, v in values.items() if k not in arrays})
        self._check(number, arrays)
        return arrays

    def _check(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Check that a graph is as the first one, but for the number of rows."""
        if arrays.keys() != self._first.keys():
            have, allowed = (", ".join(keys) or "nothing" for keys in (arrays, self._first))
            raise self._many.error(number, f"has {have}", f"{allowed}, as in graph 0")
        for key, array in arrays.items():
            first = self._first[key]
            if key == "edge_index":
                if array.dtype.kind not in "iu" or array.ndim != 2 or len(array) != 2:
                    allowed = "whole numbers [2, edges]"
                    raise self._many.error(number, f"{key} is {shown(array)}", allowed)
            elif array.dtype != first.dtype or array.shape[1:] != first.shape[1:]:
                allowed = ", ".join(["rows", *map(str, first.shape[1:])])
                allowed = f"{first.dtype} [{allowed}], as in graph 0"
                raise self._many.error(number, f"{key} is {shown(array)}", allowed)


def _axis(key: str) -> int:
    """Return the axis of the rows."""
    return 1 if key == "edge_index" else 0
