"""The card's numbers of a label: coverage and balance, of all its rows and of each split's parts.

Rows are read a chunk at a time: labels of edges may be as many as the edges.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mtl.graphs.store import Label

CHUNK = 1 << 22
PARTS = {"train": 1, "val": 2, "test": 3}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SAMPLE = 100_000


class Tally:
    """Rows seen and labels known, with their balance: by class, by column, or mean and deviation.

    Args:
        label: its kind and classes count.
    """

    def __init__(self, label: "Label") -> None:
        self._kind = label.kind
        width = label.num_classes if label.kind != "regression" else 0
        self._rows = self._known = 0
        self._labelled, self._positive = np.zeros(width, np.int64), np.zeros(width, np.int64)
        self._mean = self._square = 0.0  # mean, and sum of squared distances from it

    def add(self, values: np.ndarray) -> None:
        """Count some rows."""
        self._rows += len(values)
        if self._kind == "multilabel":
            self._known += int(np.count_nonzero((values >= 0).any(axis=1)))
            self._labelled += (values >= 0).sum(axis=0)
            self._positive += (values == 1).sum(axis=0)
        elif self._kind == "class":
            known = values[values >= 0]
            self._known += len(known)
            self._labelled += np.bincount(known, minlength=len(self._labelled))
        else:
            self._add_numbers(values[~np.isnan(values)].astype(np.float64))

    def facts(self) -> dict[str, Any]:
        """Return what was counted, as plain JSON."""
        coverage = self._known / (self._rows or 1)
        facts: dict[str, Any] = {"num_rows": self._rows, "num_known": self._known}
        facts["coverage"] = coverage
        if self._kind == "regression":
            std = np.sqrt(self._square / max(self._known, 1))
            return facts | ({"mean": self._mean, "std": float(std)} if self._known else {})
        facts["num_labelled"] = self._labelled.tolist()
        if self._kind == "multilabel":
            facts["num_positive"] = self._positive.tolist()
        return facts

    def _add_numbers(self, known: np.ndarray) -> None:
        """Merge mean and squares (Chan et al., 1983): sums of squares would lose digits."""
        if not len(known):
            return
        total, mean = self._known + len(known), float(known.mean())
        distance = mean - self._mean
        self._square += float(((known - mean) ** 2).sum())
        self._square += distance**2 * self._known * len(known) / total
        self._mean += distance * len(known) / total
        self._known = total


def label_facts(label: "Label", splits: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Describe a label: kind, classes, coverage and balance, of all and by split and part."""
    facts: dict[str, Any] = {"kind": label.kind, **_tally(label), "num_classes": label.num_classes}
    facts |= {"best": label.best, "classes": list(label.classes) if label.classes else None}
    if label.kind == "regression" and facts["num_known"]:
        facts["quantiles"] = _quantiles(label.values)
    facts["splits"] = {name: _by_part(label, split) for name, split in splits.items()}
    return facts


def _tally(label: "Label") -> dict[str, Any]:
    tally = Tally(label)
    for start in range(0, len(label.values), CHUNK):
        tally.add(np.asarray(label.values[start : start + CHUNK]))
    return tally.facts()


def _by_part(label: "Label", split: np.ndarray) -> dict[str, Any]:
    tallies = {part: Tally(label) for part in PARTS}
    for start in range(0, len(split), CHUNK):
        values, parts = label.values[start : start + CHUNK], split[start : start + CHUNK]
        for part, value in PARTS.items():
            tallies[part].add(np.asarray(values[parts == value]))
    return {part: tally.facts() for part, tally in tallies.items()}


def _quantiles(values: np.ndarray) -> list[float]:
    """Return the quantiles of the known values, of a sample of many."""
    sample = np.asarray(values[:: max(len(values) // SAMPLE, 1)])
    known = sample[~np.isnan(sample)]
    return np.quantile(known.astype(np.float64), QUANTILES).tolist() if len(known) else []
