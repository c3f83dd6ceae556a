"""evaluation: diagnoses of classes: which are taken for which, how sure, how well told apart."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from job.diagnosis_counts import FINE, Reliability, count, fine_bins, fine_edges, log_odds
from mtl.tasks._multilabel import MISSING
from mtl.tasks.bound import BoundLabel

MAX_CLASSES = 100
MAX_COLUMNS = 40
OTHER = "other"


class Classes:
    """Of one class of several: a confusion matrix, and how often the likeliest class is right.

    Of many classes the most frequent ones of the training split have a row each, the rest one
    together. Of two classes the second one is looked at, by its log-odds, too.

    Args:
        bound: the task.
    """

    def __init__(self, bound: BoundLabel) -> None:
        names = _names(bound)
        self._place, self._names = torch.arange(len(names)), names
        if len(names) > MAX_CLASSES:
            shown = frequent(bound, MAX_CLASSES - 1)
            self._place = torch.full((len(names),), len(shown))
            self._place[shown] = torch.arange(len(shown))
            self._names = [*(names[i] for i in shown.tolist()), OTHER]
        size = len(self._names)
        self._confusion = torch.zeros(size * size, dtype=torch.int64)
        self._reliability = Reliability()
        self._odds = torch.zeros(2 * FINE, dtype=torch.int64)
        self._is_binary = len(names) == 2

    def update(self, scores: Float[Tensor, "seeds classes"], target: Int[Tensor, " seeds"]) -> None:
        """Take probabilities of the classes, and the true class."""
        sure, taken = scores.max(1)
        true, size = self._place[target], len(self._names)
        self._confusion += count(true * size + self._place[taken], size * size)
        if self._is_binary:
            sure, right = scores[:, 1], target == 1
            self._odds += count(target * FINE + fine_bins(log_odds(sure)), 2 * FINE)
        else:
            right = taken == target
        self._reliability.update(sure, right)

    def facts(self) -> dict[str, Any]:
        """Return counts: rows of the confusion matrix are true classes."""
        size = len(self._names)
        facts = {
            "kind": "classes",
            "classes": self._names,
            "confusion": self._confusion.view(size, size).tolist(),
            "reliability": self._reliability.facts(),
        }
        if self._is_binary:
            facts |= {"odds": self._odds.view(2, FINE).tolist(), "edges": fine_edges()}
        return facts


class Columns:
    """Of any of several classes: each one's log-odds and counts, and how often what is said is so.

    Of many columns the ones that apply most often in training have numbers of their own.

    Args:
        bound: the task.
    """

    def __init__(self, bound: BoundLabel) -> None:
        names = _names(bound)
        self._shown = frequent(bound, MAX_COLUMNS)
        self._names = [names[i] for i in self._shown.tolist()]
        self._odds = torch.zeros(len(self._names) * 2 * FINE, dtype=torch.int64)
        self._calls = torch.zeros(len(self._names), 2, 2, dtype=torch.int64)
        self._reliability = Reliability()

    def update(
        self, scores: Float[Tensor, "seeds classes"], target: Int[Tensor, "seeds classes"]
    ) -> None:
        """Take probabilities, and 0, 1 or unknown."""
        known = target != MISSING
        self._reliability.update(scores[known], target[known] == 1)
        scores, target, known = (part[:, self._shown] for part in (scores, target, known))
        column = torch.arange(len(self._names)).expand(known.shape)[known]
        true, said = target[known], scores[known]
        place = (column * 2 + true) * FINE + fine_bins(log_odds(said))
        self._odds += count(place, self._odds.numel())
        calls = (column * 2 + true) * 2 + (said > 0.5)
        self._calls += count(calls, self._calls.numel()).view_as(self._calls)

    def facts(self) -> dict[str, Any]:
        """Return counts: calls[column][truth][what was said]."""
        return {
            "kind": "columns",
            "columns": self._names,
            "calls": self._calls.tolist(),
            "odds": self._odds.view(-1, 2, FINE).tolist(),
            "edges": fine_edges(),
            "reliability": self._reliability.facts(),
        }


def frequent(bound: BoundLabel, most: int) -> Int[Tensor, " classes"]:
    """Return the classes that are most frequent in training, at most so many, in their order."""
    statistics = bound.statistics
    weight = statistics.class_weight
    often = statistics.prior if weight is None else 1 / weight
    return often.argsort(descending=True, stable=True)[:most].sort().values


def _names(bound: BoundLabel) -> list[str]:
    return list(bound.label.classes or map(str, range(bound.label.num_classes)))
