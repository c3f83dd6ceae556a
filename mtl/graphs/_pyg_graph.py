"""A graph of PyG, Data or HeteroData, as a graph folder's nodes, edges, labels and splits."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch_geometric.data import Data, HeteroData

from mtl.graphs import _pyg_values as convert
from mtl.graphs.schema import EdgeType
from mtl.graphs.splits import random_split
from mtl.graphs.writer import GraphWriter

GRAPH, NODE = "graph", "node"
EDGE: EdgeType = (NODE, "to", NODE)
MASKS = ("train_mask", "val_mask", "test_mask")

Owner = str | EdgeType
Values = dict[str, Any]


@dataclass(frozen=True)
class Graphs:
    """The graphs of a union.

    Attributes:
        pointer: [graphs + 1] where the nodes of each begin, and where the last end.
        labels: `y`, where it is one of graphs.
        others: what graph 0 has besides, which is not converted.
        splits: of the graphs, and of nodes and edges, which are where their graph is.
    """

    pointer: np.ndarray
    labels: Mapping[str, np.ndarray]
    others: Mapping[str, Any]
    splits: Mapping[Owner, Mapping[str, np.ndarray]]

    def __len__(self) -> int:
        """Count them."""
        return len(self.pointer) - 1


class PyGGraph:
    """What a graph of PyG holds: x, y, the three masks, edge_index, edge_attr, edge_weight,
    edge_label and time. What has no place in a graph folder is said on stderr.

    Args:
        data: the graph.
        seed: of the split `random` that every labelled type gets.
        graphs: that it is the union of, where it is; nodes and edges are split as their graphs are.
    """

    def __init__(self, data: Data | HeteroData, seed: int, graphs: Graphs | None = None) -> None:
        self._data, self._seed, self._graphs = data, seed, graphs
        self._left: list[str] = []
        self._nodes: dict[str, Values]
        self._edges: dict[EdgeType, Values]
        if isinstance(data, HeteroData):
            self._nodes = {kind: dict(data[kind].items()) for kind in data.node_types}
            self._edges = {kind: dict(data[kind].items()) for kind in data.edge_types}
            self._leave("graph", dict(data._global_store.items()))
        else:
            values = dict(data.items())
            with _guessing():
                of_nodes = {key: value for key, value in values.items() if data.is_node_attr(key)}
                of_edges = {key: value for key, value in values.items() if data.is_edge_attr(key)}
            self._nodes, self._edges = {NODE: of_nodes}, {EDGE: of_edges}
            rest = values.keys() - of_nodes.keys() - of_edges.keys()
            self._leave("graph", {key: values[key] for key in values if key in rest})

    def write(self, writer: GraphWriter) -> None:
        """Write all of it."""
        counts = {node_type: self._num_nodes(node_type) for node_type in self._nodes}
        pairs = {edge_type: _pairs(values) for edge_type, values in self._edges.items()}
        for node_type, values in self._nodes.items():
            take = partial(self._take, values, counts[node_type])
            features, time = take("x", convert.features), take("time", convert.whole)
            writer.add_nodes(node_type, counts[node_type], features, time=time)
            self._add_labels(writer, node_type, values, counts[node_type])
        for edge_type, values in self._edges.items():
            src, dst = pairs[edge_type]
            take = partial(self._take, values, len(src))
            writer.add_edges(
                edge_type,
                src,
                dst,
                features=take("edge_attr", convert.features),
                weight=take("edge_weight", convert.weight),
                time=take("time", convert.whole),
                reverse=_reverse(edge_type, pairs),
            )
            self._add_labels(writer, edge_type, values, len(src))
        if self._graphs:
            writer.add_collection(GRAPH, NODE, self._graphs.pointer)
            self._add_labels(writer, GRAPH, dict(self._graphs.labels), len(self._graphs))
            self._leave("graph 0", dict(self._graphs.others))
        if self._left:
            print(f"graph: not converted: {', '.join(self._left)}", file=sys.stderr, flush=True)

    def _add_labels(self, writer: GraphWriter, owner: Owner, values: Values, count: int) -> None:
        aligned = "edge_label_index" not in values  # else the labels are of other pairs
        labels = [
            label
            for key in ("y", *["edge_label"] * aligned)
            for label in self._take(values, count, key, partial(convert.labels, name=key)) or []
        ]
        for name, kind, column in labels:
            top = int(column.max(initial=0)) + 1 if kind == "class" else 1
            num_classes = column.shape[1] if kind == "multilabel" else top
            writer.add_label(owner, name, kind, column, num_classes=num_classes)
        self._add_splits(writer, owner, values, count)
        for name, split in self._splits(owner, count).items() if labels else ():
            writer.add_split(owner, name, split)
        self._leave(_text(owner), values)

    def _add_splits(self, writer: GraphWriter, owner: Owner, values: Values, count: int) -> None:
        """Add `split`, or `split_0` ... where the masks have several columns."""
        masks = [self._take(values, count, name, convert.mask) for name in MASKS]
        given = [(value, mask) for value, mask in enumerate(masks, start=1) if mask is not None]
        width = max((mask.shape[1] for _, mask in given), default=0)
        for column in range(width):
            name = f"split_{column}" if width > 1 else "split"
            split, times = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
            for value, mask in given:
                part = mask[:, column % mask.shape[1]]
                split[part] = value
                times += part
            if (times > 1).any():
                double = f"{np.count_nonzero(times > 1)} are in two of its masks"
                self._left.append(f"{_text(owner)}.{name} ({double})")
            else:
                writer.add_split(owner, name, split)

    def _splits(self, owner: Owner, count: int) -> Mapping[str, np.ndarray]:
        """Return the splits that a labelled type gets, whatever its masks say."""
        if self._graphs:
            return self._graphs.splits[owner]
        rng = np.random.default_rng([self._seed, *_text(owner).encode()])
        return {"random": random_split(count, 0.6, rng)}

    def _take(
        self, values: Values, count: int, key: str, converter: Callable[[np.ndarray], Any]
    ) -> Any:
        """Take a value out, converted; what does not fit stays in, to be named."""
        array = convert.array_of(values.get(key))
        if array is None or not array.ndim or len(array) != count:
            return None
        converted = converter(array)
        if converted is not None:
            del values[key]
        return converted

    def _leave(self, owner: str, values: Values) -> None:
        for key, value in values.items():
            if key != "num_nodes" and value is not None:
                self._left.append(f"{owner}.{key} ({convert.shown(value)})")

    def _num_nodes(self, node_type: str) -> int:
        """Count nodes as PyG does: as it was told, else by what they carry, else by the edges."""
        with _guessing():
            store = self._data[node_type] if isinstance(self._data, HeteroData) else self._data
            if (count := store.num_nodes) is not None:
                return int(count)
        ends = [
            values["edge_index"][side]
            for kind, values in self._edges.items()
            for side in (0, 1)
            if kind[2 * side] == node_type and "edge_index" in values
        ]
        return max((int(ids.max()) + 1 for ids in ends if len(ids)), default=0)


@contextmanager
def _guessing() -> Iterator[None]:
    """Let PyG guess the number of nodes from the edges, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _pairs(values: Values) -> np.ndarray:
    edge_index = convert.array_of(values.pop("edge_index", None))
    return np.zeros((2, 0), np.int64) if edge_index is None else edge_index


def _reverse(edge_type: EdgeType, pairs: dict[EdgeType, np.ndarray]) -> EdgeType | None:
    """Return the relation that holds the same edges the other way round, by PyG's names."""
    src_type, relation, dst_type = edge_type
    for name in (relation, f"rev_{relation}", relation.removeprefix("rev_")):
        other = (dst_type, name, src_type)
        there = pairs.get(other, np.zeros((2, 0)))
        if there.size and np.array_equal(_ordered(pairs[edge_type]), _ordered(there[::-1])):
            return other
    return None


def _ordered(pairs: np.ndarray) -> np.ndarray:
    return np.asarray(pairs[:, np.lexsort(pairs)])


def _text(owner: Owner) -> str:
    return owner if isinstance(owner, str) else "__".join(owner)
