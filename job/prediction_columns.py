"""predict: what a task says of some rows, as columns of Arrow under the user's own names."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from job.prediction_names import Named, RowNames, id_of, known, lists_of, named, row_names
from mtl.graphs.ids import Ids
from mtl.graphs.store import GraphStore, Label
from mtl.tasks._asked import AskedPairs
from mtl.tasks._elsewhere import known_label, known_split
from mtl.tasks._labelled import LabelTask
from mtl.tasks.bound import SPLITS, BoundLabel, BoundTask


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns(ABC):
    """One folder of the output.

    Attributes:
        reads: the task of the batch, and the node type whose embeddings are written; None for its
            predictions.
        metadata: of the files.
    """

    reads: tuple[str, str | None]
    metadata: dict[str, str]

    @abstractmethod
    def of(self, seeds: np.ndarray, values: Float[Tensor, "seeds width"]) -> Named:
        """Return the columns of some seeds, by name."""

    def table(self, seeds: np.ndarray, values: Float[Tensor, "seeds width"]) -> pa.Table:
        """Return a table of some seeds."""
        return pa.table(self.of(seeds, values)).replace_schema_metadata(self.metadata)

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of the values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded(Columns):
    """Embeddings of nodes, as the heads read them."""

    name: RowNames
    dim: int

    @property
    def width(self) -> int:
        """Width of the embeddings."""
        return self.dim

    def of(self, seeds: np.ndarray, values: Float[Tensor, "seeds width"]) -> Named:
        """Return the node and its embedding."""
        return {**self.name.of(seeds), "embedding": _lists(values)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Predicted(Columns):
    """Predictions of a task for rows of its owner.

    Attributes:
        task: as it was trained.
        name: how a row is called.
        label: what the graph knows.
        split: uint8 [rows] of the task, where the graph has it.
        only: the split whose rows are written; None for all rows.
    """

    task: BoundTask
    name: RowNames
    label: Label | None
    split: np.ndarray | None
    only: str | None

    @property
    def width(self) -> int:
        """Outputs of the head."""
        return self.task.num_outputs

    def of(self, seeds: np.ndarray, values: Float[Tensor, "seeds width"]) -> Named:
        """Return the row's name, the prediction, the label and the split."""
        if self.only is not None:
            kept = np.flatnonzero(self._split_of(seeds) == SPLITS[self.only])
            seeds, values = seeds[kept], values[torch.from_numpy(kept)]
        found = {**self.name.of(seeds), **self._said(values)}
        if self.label is not None:
            found["label"] = known(self.label, seeds)
        if self.split is not None:
            found["split"] = named(self._split_of(seeds).astype(np.int64) - 1, tuple(SPLITS))
        return found

    def _split_of(self, seeds: np.ndarray) -> np.ndarray:
        return np.zeros(len(seeds), np.uint8) if self.split is None else self.split[seeds]

    def _said(self, values: Float[Tensor, "seeds width"]) -> Named:
        scores = self.task.scores(values.double()).to(values.dtype)
        kind = self.task.task.kind if isinstance(self.task.task, LabelTask) else "features"
        if kind == "regression":
            return {"prediction": pa.array(scores.numpy())}
        if kind == "features":
            return {"prediction": _lists(scores)}
        if kind == "multilabel":
            return {"probabilities": _lists(scores)}
        best = values.argmax(1)
        return {
            "prediction": named(best.numpy(), classes_of(self.task)),
            "probability": pa.array(scores.gather(1, best[:, None]).squeeze(1).numpy()),
            "probabilities": _lists(scores),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored(Columns):
    """Log-odds of listed pairs."""

    task: AskedPairs
    names: tuple[Ids | None, Ids | None]

    @property
    def width(self) -> int:
        """The pair alone."""
        return 1

    def of(self, seeds: np.ndarray, values: Float[Tensor, "seeds 1"]) -> Named:
        """Return the pair, its score, and whether it is an edge."""
        src, dst = self.task.listed
        score = values.squeeze(1)
        found = {
            "src": id_of(self.names[0], src[seeds]),
            "dst": id_of(self.names[1], dst[seeds]),
            "score": pa.array(score.numpy()),
        }
        if self.task.task.loss == "binary":
            found["probability"] = pa.array(score.double().sigmoid().to(score.dtype).numpy())
        return {**found, "is_edge": pa.array(self.task.is_edge(seeds))}


def predicted(
    task: BoundTask, store: GraphStore, split: str, about: Mapping[str, str]
) -> Predicted:
    """Return the columns of a task's predictions for a split, or all."""
    metadata = {**about, "task": task.name, "type": task.task.type}
    if isinstance(task, BoundLabel) and task.label.kind != "regression":
        classes = classes_of(task) or range(task.num_outputs)
        metadata["classes"] = json.dumps(list(classes), ensure_ascii=False)
    if not isinstance(task.owner, str):
        metadata["edge"] = "number of the edge in the graph folder (sorted by destination, source)"
    # reconstruction draws a split of its own where none is named
    own = isinstance(task.task, LabelTask)
    return Predicted(
        reads=(task.name, None),
        metadata=metadata,
        task=task,
        name=row_names(store, task.owner),
        label=known_label(task.task, task.name, store, task.owner),
        split=known_split(task.task, store, task.owner) if own else task.split,
        only=None if split == "all" else split,
    )


def classes_of(task: BoundTask) -> tuple[str, ...] | None:
    """Return the names of the classes that a task was trained with, where they have some."""
    return task.label.classes if isinstance(task, BoundLabel) else None


def _lists(values: Float[Tensor, "seeds width"]) -> pa.Array:
    return lists_of(pa.array(values.contiguous().numpy().ravel()), *values.shape)
