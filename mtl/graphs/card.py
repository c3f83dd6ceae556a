"""The dataset card: what a graph holds and what looks wrong, in plain JSON, for MLflow and you."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mtl.graphs._card.edges import Touched, edge_facts
from mtl.graphs._card.labels import PARTS, label_facts
from mtl.graphs._card.leaks import leaks
from mtl.graphs._card.warnings import warnings
from mtl.graphs.schema import EdgeType, Owner, text

if TYPE_CHECKING:
    from mtl.graphs.store import GraphStore


def card(store: "GraphStore") -> dict[str, Any]:
    """Describe a graph: counts, degrees, coverage and balance of labels by split, warnings.

    Seconds where there are 100 M edges; memory is bounded by the nodes.
    """
    touched = {kind: Touched.none(store.num_nodes(kind)) for kind in store.node_types}
    edges = {text(kind): _edge_card(store, kind, touched) for kind in store.edge_types}
    nodes = {kind: _node_card(store, kind, touched[kind]) for kind in store.node_types}
    card = {"name": store.name, "fingerprint": store.fingerprint, "source": store.info.source}
    card |= {"nodes": nodes, "edges": edges}
    if store.collections:
        card["collections"] = {name: _collection_card(store, name) for name in store.collections}
    return {**card, "warnings": [*warnings(card), *leaks(store)]}


def _node_card(store: "GraphStore", node_type: str, touched: Touched) -> dict[str, Any]:
    features = store.features(node_type)
    labels = store.labels(node_type).values()
    alone = np.flatnonzero(~touched.into)
    seeds = np.zeros(len(alone), bool)
    for label in labels:
        seeds |= label.labelled(alone)
    return {
        "num_nodes": store.num_nodes(node_type),
        "num_features": 0 if features is None else features.size(1),
        "has_time": store.time(node_type) is not None,
        "num_isolated": int(np.count_nonzero(~(touched.into | touched.out))),
        "num_isolated_seeds": int(np.count_nonzero(seeds)),
        **_labels_and_splits(store, node_type),
    }


def _edge_card(
    store: "GraphStore", edge_type: EdgeType, touched: dict[str, Touched]
) -> dict[str, Any]:
    csc, features = store.topology().edges[edge_type], store.edge_features(edge_type)
    reverse = store.reverse(edge_type)
    return {
        **edge_facts(csc.colptr, csc.row, touched[edge_type[0]], touched[edge_type[2]]),
        "num_features": 0 if features is None else features.size(1),
        "has_weight": csc.weight is not None,
        "has_time": csc.time is not None,
        "reverse": text(reverse) if reverse else None,
        **_labels_and_splits(store, edge_type),
    }


def _collection_card(store: "GraphStore", name: str) -> dict[str, Any]:
    node_type, pointer = store.members(name)
    sizes = np.diff(pointer)
    return {
        "num_graphs": len(sizes),
        "node_type": node_type,
        "mean_nodes": float(sizes.mean()) if len(sizes) else 0.0,
        "max_nodes": int(sizes.max(initial=0)),
        "num_empty": int(np.count_nonzero(sizes == 0)),
        **_labels_and_splits(store, name),
    }


def _labels_and_splits(store: "GraphStore", owner: Owner) -> dict[str, Any]:
    splits = {name: store.split(owner, name) for name in store.splits(owner)}
    labels = {name: label_facts(label, splits) for name, label in store.labels(owner).items()}
    sizes = {
        name: {part: int(np.count_nonzero(split == value)) for part, value in PARTS.items()}
        for name, split in splits.items()
    }
    return {"labels": labels, "splits": sizes}
