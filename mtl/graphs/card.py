"""The dataset card: what a graph holds, in plain JSON, for MLflow and for the reader."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore, Label

SPLITS = {"train": 1, "val": 2, "test": 3}


def card(store: "GraphStore") -> dict[str, Any]:
    """Describe a graph: counts, degrees, coverage and balance of each label, sizes of splits."""
    return {
        "name": store.name,
        "fingerprint": store.fingerprint,
        "source": store.info.source,
        "nodes": {node_type: _node_card(store, node_type) for node_type in store.node_types},
        "edges": {"-".join(kind): _degrees(*store.csc(kind)) for kind in store.edge_types},
    }


def _node_card(store: "GraphStore", node_type: str) -> dict[str, Any]:
    features = store.features(node_type)
    splits = {name: store.split(node_type, name) for name in store.splits(node_type)}
    return {
        "num_nodes": store.num_nodes(node_type),
        "num_features": 0 if features is None else features.size(1),
        "labels": {name: _label_card(label) for name, label in store.labels(node_type).items()},
        "splits": {name: _split_sizes(split) for name, split in splits.items()},
    }


def _degrees(colptr: np.ndarray, row: np.ndarray) -> dict[str, Any]:
    degrees = np.diff(colptr)
    return {
        "num_edges": len(row),
        "mean_in_degree": float(degrees.mean()) if len(degrees) else 0.0,
        "max_in_degree": int(degrees.max(initial=0)),
    }


def _label_card(label: "Label") -> dict[str, Any]:
    values = np.asarray(label.values)
    known = values[label.labelled(np.arange(len(values)))]
    card: dict[str, Any] = {"kind": label.kind, "coverage": len(known) / max(len(values), 1)}
    if label.kind == "class":
        card["num_labelled"] = np.bincount(known, minlength=label.num_classes).tolist()
    elif label.kind == "multilabel":
        card["num_labelled"] = (known >= 0).sum(axis=0).tolist()
        card["num_positive"] = (known == 1).sum(axis=0).tolist()
    elif len(known):
        exact = known.astype(np.float64)
        card |= {"mean": float(exact.mean()), "std": float(exact.std())}
    return {**card, "num_classes": label.num_classes, "best": label.best}


def _split_sizes(split: np.ndarray) -> dict[str, int]:
    return {name: int(np.count_nonzero(split == value)) for name, value in SPLITS.items()}
