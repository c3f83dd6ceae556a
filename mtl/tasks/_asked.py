"""tasks: seeds that are asked for, labelled or not: what predictions are made for."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from mtl.graphs.schema import EdgeType
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits
from mtl.tasks import Statistics
from mtl.tasks._hiding import Edges, Hiding
from mtl.tasks._links import BoundLinks, Pairs
from mtl.tasks.bound import BoundTask, Seeds


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked(BoundTask):
    """A task that reads every seed of its group and knows no label.

    Attributes:
        inner: the task as it was trained.
    """

    inner: BoundTask

    @property
    def group(self) -> str:
        """Name of the group: masked nodes are one of their own."""
        return self.inner.group if self.masks else super().group

    @property
    def masks(self) -> bool:
        """Whether the model must not see the features of the seeds."""
        return self.inner.masks

    @property
    def statistics(self) -> Statistics:
        """What the training split says."""
        return self.inner.statistics

    def seeds(self, split: str) -> Seeds:
        """Return none: who asks says for which."""
        return np.empty(0, np.int64)

    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of all seeds."""
        return np.arange(len(seeds))

    def targets(self, seeds: Seeds, *, training: bool = False) -> Shaped[Tensor, "seeds ..."]:
        """Return nothing for each seed."""
        return torch.empty(len(seeds), 0)

    def count(self, seeds: Seeds) -> float:
        """Return that there is no loss."""
        return 0

    def loss_sum(
        self, prediction: Float[Tensor, "seeds outputs"], target: Shaped[Tensor, "seeds ..."]
    ) -> Float[Tensor, ""]:
        """Return the sum of the task's losses."""
        return self.inner.loss_sum(prediction, target)

    def scores(self, prediction: Float[Tensor, "seeds outputs"]) -> Float[Tensor, "seeds ..."]:
        """Turn outputs into what people read."""
        return self.inner.scores(prediction)

    def metrics(self) -> dict[str, Metric]:
        """Return fresh metrics."""
        return self.inner.metrics()


def ask(task: BoundTask) -> Asked:
    """Return a task that reads every seed."""
    return Asked(**{f.name: getattr(task, f.name) for f in fields(BoundTask)}, inner=task)


def ask_nodes(task: BoundTask, node_type: str, name: str) -> Asked:
    """Return a task that reads nodes of a type for their embeddings alone; it has no head."""
    none = np.empty(0, np.uint8)
    return Asked(
        name=name, task=task.task, owner=node_type, node_types=(node_type,), split=none, inner=task
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class AskedPairs(BoundLinks):
    """Link prediction of pairs of nodes that somebody lists; a seed is the number of a pair.

    Attributes:
        listed: the two nodes of each pair.
    """

    listed: tuple[Seeds, Seeds]

    @property
    def group(self) -> str:
        """Pairs are seeds of their own."""
        return "pairs"

    @property
    def held_out(self) -> dict[EdgeType, Bits]:
        """None: the task as it was trained holds edges out."""
        return {}

    def seeds(self, split: str) -> Seeds:
        """Return all pairs."""
        return np.arange(len(self.listed[0]))

    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of all pairs."""
        return np.arange(len(seeds))

    def targets(self, seeds: Seeds, *, training: bool = False) -> Shaped[Tensor, "seeds ..."]:
        """Return nothing for each pair."""
        return torch.empty(len(seeds), 0)

    def count(self, seeds: Seeds) -> float:
        """Return that there is no loss."""
        return 0

    def pairs(self, seeds: Seeds, split: str, key: int) -> Pairs:
        """Return the nodes of some pairs."""
        src, dst = self.listed
        return Pairs(src[seeds][:, None], dst[seeds][:, None])

    def is_edge(self, seeds: Seeds) -> np.ndarray:
        """Say which pairs have an edge in the graph."""
        src, dst = self.listed
        first, last = self.csc.find(src[seeds], dst[seeds])
        return np.asarray(first < last)


class _PairHiding(Hiding):
    """Hides the edges between the nodes of pairs, as those of the type that are scored."""

    def __init__(self, store: GraphStore, kind: EdgeType, listed: tuple[Seeds, Seeds]) -> None:
        super().__init__(store, kind, "relation")
        self._listed = listed

    def ends(self, edges: Edges) -> tuple[Edges, Edges]:
        """Return the two nodes of pairs."""
        src, dst = self._listed
        return src[edges], dst[edges]


def ask_pairs(task: BoundLinks, store: GraphStore, listed: tuple[Seeds, Seeds]) -> AskedPairs:
    """Return a task that scores listed pairs; an edge between two of them carries no message."""
    assert not isinstance(task.owner, str)
    values = {f.name: getattr(task, f.name) for f in fields(BoundLinks)}
    values["hiding"] = _PairHiding(store, task.owner, listed)
    return AskedPairs(**values, listed=listed)
