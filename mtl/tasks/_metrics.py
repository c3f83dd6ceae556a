"""tasks: metrics that torchmetrics does not have in the form that a task needs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelF1Score

Columns = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Turns scores and targets into columns: scores, and 1, 0 or -1 (unknown) for each of them."""


class UndefinedError(ValueError):
    """A metric has no value for these examples; the message says why."""


class Area(Metric):
    """Mean over columns of an area that only the order of the scores decides.

    It counts examples instead of adding up floats (torchmetrics is 1e-7 off), and scores may be any
    number: squashed between 0 and 1, as torchmetrics wants them, large log-odds would tie.

    Args:
        under: `roc` or `precision_recall`.
        columns: what is ranked.
    """

    higher_is_better = True
    scores: list[Tensor]
    classes: list[Tensor]

    def __init__(self, under: Callable[[Tensor, Tensor], Tensor], columns: Columns) -> None:
        super().__init__()
        self.under, self.columns = under, columns
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("classes", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take scores and targets of the task."""
        scores, classes = self.columns(preds, target)
        self.scores.append(scores.double())
        self.classes.append(classes.to(torch.int8))

    def compute(self) -> Tensor:
        """Return the mean; undefined where a column lacks a class."""
        scores, classes = torch.cat(self.scores), torch.cat(self.classes)
        areas = []
        for i in range(scores.shape[1]):
            known = classes[:, i] >= 0
            try:
                areas.append(self.under(scores[known, i], classes[known, i] == 1))
            except UndefinedError as error:
                place = f" in column {i}" if scores.shape[1] > 1 else ""
                raise UndefinedError(f"{error}{place}") from None
        return torch.stack(areas).mean()


def roc(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the area under the ROC curve; a tie counts half."""
    hits, misses = _counts(scores, positive)
    for name, count in enumerate((misses[-1], hits[-1])):
        if not count:
            raise UndefinedError(f"no example of class {name}")
    before = torch.cat([hits.new_zeros(1), hits[:-1]])
    steps = torch.diff(misses, prepend=misses.new_zeros(1))
    return ((hits + before) * steps).sum().double() / (2 * hits[-1] * misses[-1]).double()


def precision_recall(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the average precision: of all thresholds, weighted by the recall that each adds."""
    hits, misses = _counts(scores, positive)
    if not hits[-1]:
        raise UndefinedError("no example of class 1")
    steps = torch.diff(hits, prepend=hits.new_zeros(1)).double()
    return (steps * hits / (hits + misses).clamp(min=1)).sum() / hits[-1]


def _counts(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many positives and negatives each distinct score keeps, from 0 at the top on."""
    scores, order = scores.sort(descending=True)
    last = torch.cat([torch.diff(scores) != 0, scores.new_ones(min(1, len(scores))).bool()])
    hits, all_ = positive[order].cumsum(0)[last], torch.arange(1, len(scores) + 1)[last]
    none = hits.new_zeros(1)
    return torch.cat([none, hits]), torch.cat([none, all_ - hits])


def second_of_two(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the score of class 1, of scores [seeds, 2] and classes [seeds]."""
    return preds[:, 1:], target[:, None]


def each_class(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores [seeds, classes] and targets as they are."""
    return preds, target


def edges_and_negatives(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return one column of edges and one negative of each, of scores [edges, 2 + candidates]."""
    return preds[:, :2].reshape(-1, 1), torch.tensor([1, 0]).repeat(len(preds))[:, None]


class MicroF1(MultilabelF1Score):
    """F1 over all known labels; torchmetrics gives 0 where nothing is there to be found."""

    def compute(self) -> Tensor:
        """Return the score."""
        if not (self.tp + self.fp + self.fn).sum():
            raise UndefinedError("no class applies to any example, and none is predicted")
        score: Tensor = super().compute()
        return score


class Mean(Metric):
    """Mean over examples, in double precision; a subclass says of what."""

    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()).double(), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()).double(), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Take what each example counts."""
        self.total += values.double().sum()
        self.count += len(values)

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.count


class ReciprocalRank(Mean):
    """Mean reciprocal rank of edges among their candidates; ties share their ranks."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take scores [edges, 2 + candidates]; a candidate that is left out has -inf."""
        edge, candidates = preds[:, :1], preds[:, 2:]
        above, ties = (candidates > edge).sum(1), (candidates == edge).sum(1)
        self.add(self.of(1 + above + ties.double() / 2))

    def of(self, rank: Tensor) -> Tensor:
        """Return what is averaged."""
        return 1 / rank


class HitsAt(ReciprocalRank):
    """Share of edges that at most k - 1 of their candidates are before.

    Args:
        k: rank that counts as a hit.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def of(self, rank: Tensor) -> Tensor:
        """Return 1 for a hit."""
        return rank <= self.k


class Cosine(Mean):
    """Mean cosine similarity of predicted and true feature vectors."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take vectors [nodes, features]."""
        self.add(F.cosine_similarity(preds.double(), target.double(), dim=1))


class VarianceExplained(Metric):
    """R2 of all columns together: scikit-learn's r2_score weighted by variance.

    torchmetrics leaves columns out that are constant, however wrong they are predicted; and it
    subtracts squares, which leaves nothing of a variance that is small beside the mean. Here they
    are squares of distances from the first example.
    """

    higher_is_better = True
    error: Tensor
    first: Tensor
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "first", "total", "squares", "count"):
            self.add_state(name, torch.zeros(()).double(), dist_reduce_fx=None)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take values [examples] or vectors [examples, columns]."""
        target = target.double()[:, None].flatten(1)
        if not self.count and len(target):
            self.first = target[0].clone()
        distance = target - self.first
        self.error = self.error + (preds.double().view_as(target) - target).square().sum()
        self.total = self.total + distance.sum(0)
        self.squares = self.squares + distance.square().sum(0)
        self.count = self.count + len(target)

    def compute(self) -> Tensor:
        """Return the share of the variance that is explained."""
        variance = (self.squares - self.total.square() / self.count).sum()
        if variance <= 0:
            raise UndefinedError("all targets are equal" if self.count > 1 else "one example alone")
        return 1 - self.error / variance
