"""tasks: a task together with the labels and the split of one graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore, Label
from mtl.plugin import nearest
from mtl.tasks import Statistics, Task

SPLITS = {"train": 1, "val": 2, "test": 3}


@dataclass(frozen=True)
class BoundTask:
    """One task on one graph: which seeds it reads, and what it wants to see there."""

    name: str
    task: Task
    node_type: str
    label: Label
    split: Shaped[np.ndarray, " nodes"]

    @cached_property
    def statistics(self) -> Statistics:
        """What the labels of the training split say."""
        return self.task.statistics(self.label.values[self.seeds("train")], self.label.num_classes)

    @property
    def num_outputs(self) -> int:
        """Width of the head."""
        return len(self.statistics.prior)

    def seeds(self, split: str) -> Int[np.ndarray, " seeds"]:
        """Return all labelled nodes of a split, in ascending order."""
        nodes = np.flatnonzero(self.split == SPLITS[split])
        labelled: np.ndarray = nodes[self.label.labelled(nodes)]
        return labelled

    def rows(self, seeds: Int[np.ndarray, " seeds"], split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of those seeds that this task reads."""
        reads = self.split[seeds] == SPLITS[split]
        return np.flatnonzero(reads & self.label.labelled(seeds))

    def targets(self, seeds: Int[np.ndarray, " seeds"]) -> Shaped[Tensor, "seeds ..."]:
        """Return the labels of seeds: class numbers, 0/1 per class (-1 missing), or values."""
        values = torch.from_numpy(self.label.values[seeds])
        return values if self.label.kind == "regression" else values.long()


def bind_tasks(tasks: Mapping[str, Task], store: GraphStore) -> dict[str, BoundTask]:
    """Look the labels and splits of all tasks up in a graph.

    Raises:
        ConfigError: with the mistakes of all tasks, one a line.
    """
    bound, mistakes = {}, []
    for name, task in tasks.items():
        try:
            bound[name] = task.bind(name, store)
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return bound


def bind(task: Task, name: str, store: GraphStore) -> BoundTask:
    """Look a task's label and split up in a graph; `Task.bind` says what it raises."""
    path = f"tasks.{name}"
    node_type = task.node_type or store.node_types[0]
    if node_type not in store.node_types or (task.node_type is None and len(store.node_types) > 1):
        raise ConfigError(
            f"{path}.node_type: expected one of {', '.join(store.node_types)}, "
            f"found {task.node_type!r}{nearest(task.node_type, store.node_types)}"
        )
    labels = store.labels(node_type)
    if task.label not in labels:
        raise ConfigError(
            f"{path}.label: {store.name} has no label {task.label!r}"
            f"{nearest(task.label, list(labels))} (it has: {', '.join(labels) or 'none'})"
        )
    label = labels[task.label]
    if label.kind != task.kind:
        fitting = ", ".join(n for n, other in labels.items() if other.kind == task.kind)
        raise ConfigError(
            f"{path}.label: {task.label!r} is a {label.kind} label, {task.type} needs a "
            f"{task.kind} one (of that kind: {fitting or 'none'})"
        )
    if label.kind == "class" and label.num_classes < 2:
        raise ConfigError(
            f"{path}.label: {task.label!r} has one class; there is nothing to predict"
        )
    splits = store.splits(node_type)
    if task.split is not None and task.split not in splits:
        raise ConfigError(
            f"{path}.split: expected one of {', '.join(splits)}, found {task.split!r}"
            f"{nearest(task.split, splits)}"
        )
    split = store.split(node_type, task.split)
    bound = BoundTask(name, task, node_type, label, split)
    for part in SPLITS:
        if not len(bound.seeds(part)):
            raise ConfigError(
                f"{path}: no node of the {part} split {task.split or splits[0]!r} has the label "
                f"{task.label!r}; choose another split or label"
            )
    return bound
