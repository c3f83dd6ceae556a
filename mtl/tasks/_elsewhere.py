"""tasks: a trained task on another graph, which may have no labels and no splits."""

import numpy as np
import torch

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType, GraphInfo, Kind, LabelInfo, Owner, OwnerInfo, text
from mtl.graphs.store import GraphStore, Label
from mtl.tasks import Statistics, Task
from mtl.tasks._edges import OnEdges, OnLabelledEdges
from mtl.tasks._graphs import OnGraphs
from mtl.tasks._hiding import Hiding
from mtl.tasks._labelled import LabelTask
from mtl.tasks._links import BoundLinks
from mtl.tasks._masked import BoundMasked
from mtl.tasks._nodes import OnNodes
from mtl.tasks.bound import BoundLabel, BoundTask
from mtl.tasks.feature_reconstruction import FeatureReconstruction
from mtl.tasks.link_prediction import LinkPrediction

MISSING: dict[Kind, np.ndarray] = {
    "class": np.array(-1, np.int32),
    "multilabel": np.array(-1, np.int8),
    "regression": np.array(np.nan, np.float32),
}


class LabelElsewhere(BoundLabel):
    """A label whose training statistics stand in the weights of the head."""

    @property
    def statistics(self) -> Statistics:
        """Return numbers that a checkpoint replaces."""
        return _replaced(self.label.num_classes)


class MaskedElsewhere(BoundMasked):
    """Features whose training statistics stand in the weights of the head."""

    @property
    def statistics(self) -> Statistics:
        """Return numbers that a checkpoint replaces."""
        return _replaced(self.features.shape[1])


def _replaced(width: int) -> Statistics:
    return Statistics(torch.zeros(width).double(), torch.ones(width).double())


def bind_elsewhere(task: Task, name: str, store: GraphStore, trained: GraphInfo) -> BoundTask:
    """Look up on another graph what a task reads; it learns no label there, and holds nothing out.

    Args:
        task: its options.
        name: of the task.
        store: the other graph.
        trained: what the graph is like that the task was trained on: classes are those of there.
    """
    owner, node_types = place_of(task, name, store)
    none = np.zeros(num_rows(store, owner), np.uint8)
    if isinstance(task, LinkPrediction):
        assert not isinstance(owner, str)
        return _links(task, name, store, owner, none)
    named = None if isinstance(task, FeatureReconstruction) else known_split(task, store, owner)
    split = none if named is None else named
    if isinstance(task, FeatureReconstruction):
        features = store.features(node_types[0])
        assert features is not None  # who trained on it had some, and widths agree
        return MaskedElsewhere(
            name=name,
            task=task,
            owner=owner,
            node_types=node_types,
            split=split,
            features=features,
        )
    assert isinstance(task, LabelTask)
    info = _owner(trained, owner).labels[task.label]
    return LabelElsewhere(
        name=name,
        task=task,
        owner=owner,
        node_types=node_types,
        split=split,
        hiding=Hiding(store, owner, task.hide) if isinstance(task, OnLabelledEdges) else None,
        graph_ptr=store.members(str(owner))[1] if owner in store.collections else None,
        label=_unknown(task.label, info, len(split)),
    )


def place_of(task: Task, name: str, store: GraphStore) -> tuple[Owner, tuple[str, ...]]:
    """Return whose rows the seeds of a task are, and whose embeddings it reads.

    Raises:
        ConfigError: the graph has no such type.
    """
    if isinstance(task, OnNodes):
        node_type = task.find(name, store)
        return node_type, (node_type,)
    if isinstance(task, OnEdges):
        edge_type = task.find(name, store)
        return edge_type, (edge_type[0], edge_type[2])
    assert isinstance(task, OnGraphs)
    collection = task.collection or store.collections[0]
    return collection, (store.members(collection)[0],)


def num_rows(store: GraphStore, owner: Owner) -> int:
    """Count the nodes, edges or graphs of an owner."""
    if not isinstance(owner, str):
        return len(store.csc(owner)[1])
    if owner in store.collections:
        return len(store.members(owner)[1]) - 1
    return store.num_nodes(owner)


def known_label(task: Task, name: str, store: GraphStore, owner: Owner) -> Label | None:
    """Return what a graph knows of a task's label, or None.

    Raises:
        ConfigError: the label is of another kind there.
    """
    if not isinstance(task, LabelTask) or task.label not in store.labels(owner):
        return None
    label = store.label(owner, task.label)
    if label.kind != task.kind:
        raise ConfigError(
            f"tasks.{name}.label: {task.label!r} of {text(owner)} is a {label.kind} label in "
            f"{store.folder}, where it was trained a {task.kind} one"
        )
    return label


def known_split(task: Task, store: GraphStore, owner: Owner) -> np.ndarray | None:
    """Return the split of a task on a graph, or None where the graph has no such split."""
    splits = store.splits(owner)
    if not splits or (task.split is not None and task.split not in splits):
        return None
    return store.split(owner, task.split)


def _links(
    task: LinkPrediction, name: str, store: GraphStore, kind: EdgeType, split: np.ndarray
) -> BoundLinks:
    topology, (source, _, target) = store.topology(), kind
    return BoundLinks(
        name=name,
        task=task,
        owner=kind,
        node_types=(source, target),
        split=split,
        hiding=Hiding(store, kind, "relation"),
        csc=topology.edges[kind],
        num_nodes=(topology.num_nodes[source], topology.num_nodes[target]),
        times=(topology.time.get(source), topology.time.get(target)),
        undirected=store.reverse(kind) == kind,
    )


def _unknown(name: str, info: LabelInfo, num_rows: int) -> Label:
    """Return a label with the classes that it was trained with, which no row has."""
    shape = (num_rows, info.num_classes) if info.kind == "multilabel" else (num_rows,)
    values: np.ndarray = np.broadcast_to(MISSING[info.kind], shape)
    return Label(name, info.kind, values, info.num_classes, classes=info.classes)


def _owner(info: GraphInfo, owner: Owner) -> OwnerInfo:
    if not isinstance(owner, str):
        return next(edge for edge in info.edges if edge.edge_type == owner)
    return info.collections.get(owner) or info.nodes[owner]
