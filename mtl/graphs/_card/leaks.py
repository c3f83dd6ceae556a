"""The card's search for labels that a model would be told: in a feature, or on the way back.

It looks at thousands of labelled rows, spread over all: what gives a label away does so everywhere.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from mtl.graphs.labels import Label
from mtl.graphs.schema import EdgeType, Owner, text

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore

LOOKED_AT, ROWS, MIN_ROWS = 200_000, 5_000, 20
MAX_CLASSES = 256
SAME = 0.9999
"""Correlation from which on a column says what the label is."""

Columns = list[tuple[str, np.ndarray]]


def leaks(store: "GraphStore") -> Iterator[str]:
    """Yield a sentence for each label that a feature or a reverse edge gives away."""
    for node_type in store.node_types:
        for name, label in store.labels(node_type).items():
            rows = _labelled_rows(label)
            told = _features(store.features(node_type), rows)
            yield from _compare(node_type, name, _targets(label, rows), told)
    for edge_type in store.edge_types:
        for name, label in store.labels(edge_type).items():
            rows = _labelled_rows(label)
            told = _features(store.edge_features(edge_type), rows)
            yield from _compare(edge_type, name, _targets(label, rows), told)
            if (reverse := store.reverse(edge_type)) is not None:
                yield from _on_the_way_back(store, edge_type, reverse, label)


def _on_the_way_back(
    store: "GraphStore", edge_type: EdgeType, reverse: EdgeType, label: Label
) -> Iterator[str]:
    """Compare a label with what the same edges carry the other way round."""
    where = f" of {text(reverse)}, its reverse,"
    rows, back = _reverse_edges(store, edge_type, reverse, _labelled_rows(label))
    told = _features(store.edge_features(reverse), back, where)
    yield from _compare(edge_type, label.name, _targets(label, rows), told)
    for name, other in store.labels(reverse).items():
        both = other.labelled(back)
        told = [(f"label {name}{where}", column) for _, column in _targets(other, back[both])]
        yield from _compare(edge_type, label.name, _targets(label, rows[both]), told)


def _compare(owner: Owner, name: str, targets: Columns, told: Columns) -> Iterator[str]:
    """Yield a sentence for the first column that says what the label is."""
    if not told or len(told[0][1]) < MIN_ROWS:
        return
    wanted, found = (_standard(columns) for columns in (targets, told))
    same = np.abs(found @ wanted.T) > SAME * wanted.shape[1]
    for column, target in np.argwhere(same):
        ranks = _standard([("", rankdata(part)) for _, part in (told[column], targets[target])])
        if abs(ranks[0] @ ranks[1]) > SAME * ranks.shape[1]:  # not one outlier alone
            yield f"{text(owner)}.{name}: {told[column][0]} says {targets[target][0]}"
            return


def _targets(label: Label, rows: np.ndarray) -> Columns:
    """Return what may be told of a label: its number, and each class by itself."""
    values = np.asarray(label.values[rows])
    if label.kind == "multilabel":
        return [(f"column {i}", values[:, i]) for i in range(min(values.shape[1], MAX_CLASSES))]
    classes = range(label.num_classes) if 2 < label.num_classes <= MAX_CLASSES else ()
    return [("it", values), *((f"class {c}", values == c) for c in classes)]


def _features(features: Tensor | None, rows: np.ndarray, where: str = "") -> Columns:
    if features is None:
        return []
    values = features[torch.from_numpy(rows)].float().numpy()
    return [(f"feature {index}{where}", column) for index, column in enumerate(values.T)]


def _standard(columns: Columns) -> np.ndarray:
    """Return [columns, rows] of mean 0 and deviation 1; zeros for a column that hardly varies."""
    values = np.stack([column for _, column in columns]).astype(np.float32)
    usual = np.median(values, axis=1, keepdims=True)
    varies = np.count_nonzero(values != usual, axis=1, keepdims=True) >= MIN_ROWS
    values -= values.mean(axis=1, keepdims=True)
    values /= np.maximum(values.std(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.where(varies, values, 0))


def _labelled_rows(label: Label) -> np.ndarray:
    rows = np.arange(0, len(label.values), max(len(label.values) // LOOKED_AT, 1))
    known = rows[label.labelled(rows)]
    return np.asarray(known[:: max(len(known) // ROWS, 1)])


def _reverse_edges(
    store: "GraphStore", edge_type: EdgeType, reverse: EdgeType, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return those edges that have one reverse edge, not being it themselves, and these."""
    colptr, row = store.csc(edge_type)
    src, dst = np.asarray(row[rows]), np.searchsorted(colptr, rows, side="right") - 1
    starts, sources = store.csc(reverse)
    back = np.full(len(rows), -1)
    for index, (source, destination) in enumerate(zip(src.tolist(), dst.tolist(), strict=True)):
        start, end = int(starts[source]), int(starts[source + 1])
        low, high = np.searchsorted(sources[start:end], [destination, destination + 1])
        if high - low == 1 and (edge_type != reverse or source != destination):
            back[index] = start + low
    return rows[back >= 0], back[back >= 0]
