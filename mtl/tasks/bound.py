"""tasks: a task together with the labels and the split of one graph."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from mtl.errors import ConfigError
from mtl.graphs.schema import EdgeType, Owner, text
from mtl.graphs.store import GraphStore, Label
from mtl.graphs.topology import Bits
from mtl.plugin import nearest
from mtl.tasks import Statistics, Task
from mtl.tasks._edges import OnLabelledEdges
from mtl.tasks._hiding import Hiding
from mtl.tasks._labelled import LabelTask

SPLITS = {"train": 1, "val": 2, "test": 3}
Seeds = Int[np.ndarray, " seeds"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundTask(ABC):
    """One task on one graph: which seeds it reads, and what it wants to see there.

    Attributes:
        name: of the task.
        task: its options.
        owner: whose rows the seeds are: a node type, an edge type, or a collection of graphs.
        node_types: whose embeddings the head reads: of the node, both ends of the edge, or the
            nodes of the graph.
        split: uint8 [rows].
        hiding: edges that carry no message while a seed is scored.
        graph_ptr: of graphs: where the nodes of each begin, and where the last ends.
    """

    name: str
    task: Task
    owner: Owner
    node_types: tuple[str, ...]
    split: Shaped[np.ndarray, " rows"]
    hiding: Hiding | None = None
    graph_ptr: Int[np.ndarray, " graphs_and_one"] | None = None

    @property
    def group(self) -> str:
        """Name of the owner: tasks of one group share their seeds."""
        return text(self.owner)

    @property
    @abstractmethod
    def statistics(self) -> Statistics:
        """What the training split says before any feature is read."""

    @cached_property
    def _copies(self) -> dict[tuple[torch.device, torch.dtype], Statistics]:
        return {}

    def statistics_as(self, like: Tensor) -> Statistics:
        """Return the statistics in the type of a tensor, on its device: copied there once."""
        kind = like.device, like.dtype
        if kind not in self._copies:
            moved = (None if part is None else part.to(like) for part in self.statistics)
            self._copies[kind] = Statistics(*moved)  # type: ignore[arg-type]
        return self._copies[kind]

    @property
    def masks(self) -> bool:
        """Whether the model must not see the features of the seeds."""
        return False

    @property
    def num_outputs(self) -> int:
        """Width of the head's output for a seed, in evaluation."""
        return len(self.statistics.prior)

    @property
    def best(self) -> Mapping[str, float]:
        """Metric -> best reachable score, where the source knows it."""
        return {}

    @property
    def held_out(self) -> dict[EdgeType, Bits]:
        """Edges that never carry a message, by type: a bit for each."""
        return {}

    @abstractmethod
    def seeds(self, split: str) -> Seeds:
        """Return all seeds of a split, in ascending order."""

    @abstractmethod
    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of those seeds of the group that this task reads."""

    @abstractmethod
    def targets(self, seeds: Seeds, *, training: bool = False) -> Shaped[Tensor, "seeds ..."]:
        """Return what should be predicted for seeds that the task reads."""

    @abstractmethod
    def count(self, seeds: Seeds) -> float:
        """Return how many losses `loss_sum` adds up for these seeds."""

    @abstractmethod
    def loss_sum(
        self, prediction: Float[Tensor, "seeds outputs"], target: Shaped[Tensor, "seeds ..."]
    ) -> Float[Tensor, ""]:
        """Return the sum of the losses; 0 for no seed. It is divided by a count of all ranks."""

    @abstractmethod
    def scores(self, prediction: Float[Tensor, "seeds outputs"]) -> Float[Tensor, "seeds ..."]:
        """Turn outputs into what metrics and people read."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return fresh metrics of `scores` and targets; the first one is the task's headline."""

    def trivial(self, num_seeds: int) -> Float[Tensor, "seeds outputs"]:
        """Return what would be predicted without reading a feature."""
        return self.statistics.prior.expand(num_seeds, -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundLabel(BoundTask):
    """A task that predicts a label."""

    task: LabelTask
    label: Label

    @cached_property
    def statistics(self) -> Statistics:
        """What the labels of the training split say."""
        try:
            return self.task.statistics(
                self.label.values[self.seeds("train")], self.label.num_classes
            )
        except ConfigError as error:
            raise ConfigError(f"tasks.{self.name}.{error}") from error

    @property
    def best(self) -> Mapping[str, float]:
        """Metric -> best reachable score, where the source knows it."""
        return self.label.best

    def seeds(self, split: str) -> Seeds:
        """Return all labelled rows of a split, in ascending order."""
        rows = np.flatnonzero(self.split == SPLITS[split])
        labelled: np.ndarray = rows[self.label.labelled(rows)]
        return labelled

    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of those seeds that this task reads."""
        reads = self.split[seeds] == SPLITS[split]
        return np.flatnonzero(reads & self.label.labelled(seeds))

    def targets(self, seeds: Seeds, *, training: bool = False) -> Shaped[Tensor, "seeds ..."]:
        """Return the labels of seeds: class numbers, 0/1 per class (-1 missing), or values."""
        values = torch.from_numpy(self.label.values[seeds])
        return values if self.label.kind == "regression" else values.long()

    def count(self, seeds: Seeds) -> float:
        """Return how many losses `loss_sum` adds up for these seeds."""
        return self.task.count(self.label.values[seeds], self.statistics)

    def loss_sum(
        self, prediction: Float[Tensor, "seeds outputs"], target: Shaped[Tensor, "seeds ..."]
    ) -> Float[Tensor, ""]:
        """Return the sum of the task's losses."""
        return self.task.loss_sum(prediction, target, self.statistics_as(prediction))

    def scores(self, prediction: Float[Tensor, "seeds outputs"]) -> Float[Tensor, "seeds ..."]:
        """Return probabilities, or values in the user's units."""
        return self.task.scores(prediction)

    def metrics(self) -> dict[str, Metric]:
        """Return fresh metrics."""
        return self.task.metrics(self.label.num_classes)


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


def bind_label(
    task: LabelTask, name: str, store: GraphStore, owner: Owner, node_types: tuple[str, ...]
) -> BoundLabel:
    """Look a task's label and split up among those of an owner; `Task.bind` says what it raises."""
    path = f"tasks.{name}"
    labels = store.labels(owner)
    if task.label not in labels:
        raise ConfigError(
            f"{path}.label: {text(owner)} has no label {task.label!r}"
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
    split = split_of(task, name, store, owner)
    hiding = Hiding(store, owner, task.hide) if isinstance(task, OnLabelledEdges) else None
    pointer = store.members(owner)[1] if owner in store.collections else None
    bound = BoundLabel(
        name=name,
        task=task,
        owner=owner,
        node_types=node_types,
        split=split,
        hiding=hiding,
        graph_ptr=pointer,
        label=label,
    )
    for part in SPLITS:
        if not len(bound.seeds(part)):
            raise ConfigError(
                f"{path}: no {_row_of(store, owner)} of the {part} split "
                f"{task.split or store.splits(owner)[0]!r} has the label {task.label!r}; choose "
                "another split or label"
            )
    _ = bound.statistics  # refuses labels that the loss does not take
    return bound


def _row_of(store: GraphStore, owner: Owner) -> str:
    if not isinstance(owner, str):
        return "edge"
    return "graph" if owner in store.collections else "node"


def split_of(task: Task, name: str, store: GraphStore, owner: Owner) -> Shaped[np.ndarray, " rows"]:
    """Return the split that a task asks for.

    Raises:
        ConfigError: the owner has none of this name.
    """
    splits = store.splits(owner)
    if not splits or (task.split is not None and task.split not in splits):
        raise ConfigError(
            f"tasks.{name}.split: expected one of {', '.join(splits) or 'none'}, found "
            f"{task.split!r}{nearest(task.split, splits)}"
        )
    return store.split(owner, task.split)
