"""tasks: metrics that torchmetrics does not have in the form that a task needs."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision


class PositiveAveragePrecision(BinaryAveragePrecision):
    """Average precision of class 1, of probabilities of both classes."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take probabilities [seeds, 2] and classes [seeds]."""
        super().update(preds[:, 1], target)


class LinkAUROC(BinaryAUROC):
    """Area under the ROC curve over edges and one negative for each."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take scores [edges, 2 + candidates]: of the edge, of its negative, of candidates."""
        super().update(*_edges_and_negatives(preds))


class LinkAveragePrecision(BinaryAveragePrecision):
    """Average precision over edges and one negative for each."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take scores [edges, 2 + candidates]."""
        super().update(*_edges_and_negatives(preds))


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
        self.add(self.of(1 + above + ties / 2))

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
    """R2 of all features together: scikit-learn's r2_score weighted by variance.

    torchmetrics leaves features out that are constant, however wrong they are predicted.
    """

    higher_is_better = True
    error: Tensor
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "total", "squares", "count"):
            self.add_state(name, torch.zeros(()).double(), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take vectors [nodes, features]."""
        target = target.double()
        self.error += (preds.double() - target).square().sum()
        self.total = self.total + target.sum(0)
        self.squares += target.square().sum()
        self.count += len(target)

    def compute(self) -> Tensor:
        """Return the share of the variance that is explained."""
        variance = self.squares - (self.total.square() / self.count).sum()
        if variance <= 0:
            raise ValueError("R2 is not defined where all nodes have the same features")
        return 1 - self.error / variance


def _edges_and_negatives(preds: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and classes, flat; scores in their order between 0 and 1, as is expected."""
    scores = (1 + preds[:, :2] / (1 + preds[:, :2].abs())) / 2
    return scores.flatten(), torch.tensor([1, 0]).expand(len(scores), 2).flatten()
