"""tasks: link prediction on one graph: its edges, their split, and pairs that are none."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchmetrics import Metric

from mtl.errors import ConfigError, DataError
from mtl.graphs.schema import EdgeType, text
from mtl.graphs.splits import TEST, TRAIN, VAL, mix
from mtl.graphs.store import GraphStore
from mtl.graphs.topology import Bits, Csc
from mtl.tasks import Statistics
from mtl.tasks._hiding import Hiding
from mtl.tasks._metrics import (
    Area,
    HitsAt,
    ReciprocalRank,
    edges_and_negatives,
    precision_recall,
    roc,
)
from mtl.tasks.bound import SPLITS, BoundTask, Seeds, split_of
from mtl.tasks.link_prediction import LinkPrediction

TRIES = 16
NO_PAIR = -1
Ids = Int[np.ndarray, "seeds pairs"]


class Pairs(NamedTuple):
    """Nodes whose embeddings are compared: of each seed first the edge itself, then negatives."""

    src: Ids
    """Of the edge and its negatives."""
    dst: Ids
    """Of the same and then of candidates, which share the edge's source; `NO_PAIR`: left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BoundLinks(BoundTask):
    """Link prediction on one edge type.

    Attributes:
        csc: its edges.
        num_nodes: of the source's and of the destination's type.
        times: when these came to be, where that is known: no negative is later than its edge.
        undirected: whether each edge is there in both directions.
    """

    task: LinkPrediction
    hiding: Hiding
    csc: Csc
    num_nodes: tuple[int, int]
    times: tuple[np.ndarray | None, np.ndarray | None]
    undirected: bool

    @property
    def statistics(self) -> Statistics:
        """Edge or none: both as likely."""
        return Statistics(torch.zeros(1).double(), torch.ones(1).double())

    @property
    def num_outputs(self) -> int:
        """The edge, one negative, the candidates."""
        return 2 + self.task.num_candidates

    @cached_property
    def held_out(self) -> dict[EdgeType, Bits]:
        """The edges of validation and test, with what is hidden with them; found once."""
        return self.hiding.bits(np.flatnonzero(self.split >= VAL))

    def seeds(self, split: str) -> Seeds:
        """Return all edges of a split, an undirected one once."""
        edges = np.flatnonzero(self.split == SPLITS[split])
        seeds: np.ndarray = edges[self.rows(edges, split)]
        return seeds

    def rows(self, seeds: Seeds, split: str) -> Int[np.ndarray, " rows"]:
        """Return the positions of those edges that this task reads."""
        reads: np.ndarray = self.split[seeds] == SPLITS[split]
        if self.undirected:
            src, dst = self.hiding.ends(seeds)
            reads &= src < dst
        return np.flatnonzero(reads)

    def targets(self, seeds: Seeds, *, training: bool = False) -> Shaped[Tensor, "seeds ..."]:
        """Return 1 for the edge and 0 for each negative, in as many columns as the loss has."""
        target = torch.zeros(len(seeds), 1 + (self.task.num_negatives if training else 1))
        target[:, 0] = 1
        return target

    def count(self, seeds: Seeds) -> float:
        """Return the number of edges."""
        return len(seeds)

    def loss_sum(
        self, prediction: Float[Tensor, "seeds outputs"], target: Shaped[Tensor, "seeds ..."]
    ) -> Float[Tensor, ""]:
        """Return the sum over edges of the mean over negatives; half of binary is the edge's own.

        Args:
            prediction: log-odds of the edge, of its negatives, and of candidates.
            target: of the edge and the negatives; candidates have none.
        """
        edge, negatives = prediction[:, :1], prediction[:, 1 : target.shape[1]]
        if self.task.loss == "ranking":
            return F.softplus(negatives - edge).mean(1).sum()
        return (F.softplus(-edge).squeeze(1) + F.softplus(negatives).mean(1)).sum() / 2

    def scores(self, prediction: Float[Tensor, "seeds outputs"]) -> Float[Tensor, "seeds ..."]:
        """Return the log-odds as they are: metrics compare them."""
        return prediction

    def metrics(self) -> dict[str, Metric]:
        """Return areas under ROC and PR curve over edges and negatives, and ranks."""
        return {
            "auroc": Area(roc, edges_and_negatives),
            "average_precision": Area(precision_recall, edges_and_negatives),
            "mrr": ReciprocalRank(),
            **{f"hits_at_{k}": HitsAt(k) for k in self.task.hits},
        }

    def trivial(self, num_seeds: int) -> Float[Tensor, "seeds outputs"]:
        """Return the same for every pair."""
        return torch.zeros(num_seeds, self.num_outputs).double()

    def pairs(self, seeds: Seeds, split: str, key: int) -> Pairs:
        """Return what is compared for some edges.

        Each negative follows from (key, edge, number) alone: not from the other edges.

        Args:
            seeds: edges that the task reads.
            split: train draws `num_negatives`; val and test one, and add the candidates.
            key: makes the draws of training; evaluation has the same ones every time.
        """
        training = split == "train"
        key = key if training else SPLITS[split]
        src, dst = self.hiding.ends(seeds)
        number = self.task.num_negatives if training else 1
        drawn = [self._negatives(seeds, src, [key, j], training=training) for j in range(number)]
        sources = np.stack([src, *(pair[0] for pair in drawn)], 1)
        targets = np.stack([dst, *(pair[1] for pair in drawn)], 1)
        if training:
            return Pairs(sources, targets)
        candidates = np.tile(self._candidates(split), (len(seeds), 1))
        repeated = np.repeat(src, candidates.shape[1]).reshape(candidates.shape)
        wrong = self._is_wrong(seeds, repeated, candidates, training=False)
        return Pairs(sources, np.hstack([targets, np.where(wrong, NO_PAIR, candidates)]))

    def _candidates(self, split: str) -> Int[np.ndarray, " candidates"]:
        """Return the destinations that edges of a split are ranked against."""
        numbers = np.arange(self.task.num_candidates)
        return _nodes(numbers, [SPLITS[split], 1 << 20], self.num_nodes[1])

    def _negatives(
        self, seeds: Seeds, src: Seeds, key: list[int], *, training: bool
    ) -> tuple[Seeds, Seeds]:
        """Draw one negative for each edge; again where it is wrong, until it is not."""
        src, free, rows = src.copy(), self.task.loss == "binary", np.arange(len(seeds))
        dst = np.empty_like(src)
        for attempt in range(TRIES):
            if free:
                src[rows] = _nodes(seeds[rows], [*key, 2 * attempt], self.num_nodes[0])
            dst[rows] = _nodes(seeds[rows], [*key, 2 * attempt + 1], self.num_nodes[1])
            rows = rows[self._is_wrong(seeds[rows], src[rows], dst[rows], training=training)]
        for row in rows:
            src[row], dst[row] = self._search(seeds[row : row + 1], src[row], free, training)
        return src, dst

    def _search(self, seed: Seeds, src: int, free: bool, training: bool) -> tuple[int, int]:
        """Look through all destinations of a source, and, where it is free, of those after it."""
        every = np.arange(self.num_nodes[1])
        for step in range(self.num_nodes[0] if free else 1):
            source = (src + step) % self.num_nodes[0]
            wrong = self._is_wrong(seed, np.full(len(every), source), every, training=training)
            if not wrong.all():
                return source, int(every[~wrong][int(seed[0]) % int((~wrong).sum())])
        raise DataError(
            f"tasks.{self.name}: no negative can be drawn for edge {seed[0]} of {self.group}: its "
            f"source, node {src}, has an edge to every node that is there at its time"
        )

    def _is_wrong(self, seeds: Seeds, src: Ids, dst: Ids, *, training: bool) -> np.ndarray:
        """Say which pairs are no negatives: an edge, a node with itself, or one of the future.

        In training, edges that are held out count as none: nobody knows them yet.
        """
        flat_src, flat_dst = src.ravel(), dst.ravel()
        first, last = self.csc.find(flat_src, flat_dst)
        edge = first < last
        if training and len(self.split):
            edge &= self.split[np.minimum(first, len(self.split) - 1)] < VAL
        wrong = edge | ((flat_src == flat_dst) & (self.node_types[0] == self.node_types[1]))
        if self.csc.time is not None:
            limit = np.broadcast_to(
                self.csc.time[seeds].reshape(-1, *[1] * (src.ndim - 1)), src.shape
            )
            for times, nodes in zip(self.times, (flat_src, flat_dst), strict=True):
                if times is not None:
                    wrong |= times[nodes] > limit.ravel()
        return np.asarray(wrong.reshape(src.shape))


def bind_links(task: LinkPrediction, name: str, store: GraphStore, kind: EdgeType) -> BoundLinks:
    """Look the edges and their split up in a graph.

    Raises:
        ConfigError: naming the YAML path, what was asked for and what the graph has.
    """
    topology, ends = store.topology(), (kind[0], kind[2])
    csc, undirected = topology.edges[kind], store.reverse(kind) == kind
    hiding = Hiding(store, kind, "relation")
    if task.split is None:
        if task.val_share + task.test_share >= 1:
            raise ConfigError(f"tasks.{name}.val_share: with test_share it must stay below 1")
        split = _drawn_split(task, csc, undirected=undirected)
    else:
        split = split_of(task, name, store, kind)
    bound = BoundLinks(
        name=name,
        task=task,
        owner=kind,
        node_types=ends,
        split=split,
        hiding=hiding,
        csc=csc,
        num_nodes=(topology.num_nodes[ends[0]], topology.num_nodes[ends[1]]),
        times=(topology.time.get(ends[0]), topology.time.get(ends[1])),
        undirected=undirected,
    )
    for part in SPLITS:
        if not len(bound.seeds(part)):
            raise ConfigError(
                f"tasks.{name}: no edge of {text(kind)} is in the {part} split; there are "
                f"{len(csc.row)} edges in all (raise val_share and test_share, or name a split)"
            )
    return bound


def _drawn_split(task: LinkPrediction, csc: Csc, *, undirected: bool) -> np.ndarray:
    """Split edges by a hash of their ends: both directions, and all edges of a pair, alike."""
    split = np.empty(len(csc.row), np.uint8)
    for start in range(0, len(split), 1 << 22):
        edges = np.arange(start, min(start + (1 << 22), len(split)))
        src, dst = csc.row[edges].astype(np.int64), csc.destination(edges)
        if undirected:
            src, dst = np.minimum(src, dst), np.maximum(src, dst)
        unit = _pair_units(src, dst)
        split[edges] = np.where(
            unit < task.val_share,
            VAL,
            np.where(unit < task.val_share + task.test_share, TEST, TRAIN),
        )
    return split


def _pair_units(src: Seeds, dst: Seeds) -> Float[np.ndarray, " edges"]:
    with np.errstate(over="ignore"):
        mixed = mix(dst.astype(np.uint64) + mix(src.astype(np.uint64)))
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)


def _nodes(numbers: Seeds, key: list[int], num_nodes: int) -> Seeds:
    """Draw a node for each number; what is drawn follows from it and the key."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for word in key:
            state = mix(state + np.array([word], np.uint64))
        mixed = mix(numbers.astype(np.uint64) + state)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53 * num_nodes, np.int64)
