"""evaluation: diagnoses of numbers, of scores of links, and of feature vectors."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Shaped
from torch import Tensor

from job.diagnosis_counts import FINE, bins, count, fine_bins, fine_edges
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundLabel, BoundTask

GRID, RESIDUALS, COSINES, RANKS = 48, 1000, 100, 150
SPREADS = 5
"""Errors are counted up to so many standard deviations of the training labels."""
TAIL = 0.005
SAMPLE = 100_000


class Numbers:
    """Of one number: how many examples are there, by what is predicted and what is true, and
    by the error.

    The range is that of the training labels, but for the outermost half percent on either side;
    whatever lies beyond is counted at its border.

    Args:
        bound: the task.
    """

    def __init__(self, bound: BoundLabel) -> None:
        seeds = bound.seeds("train")
        some = bound.label.values[seeds[:: -(-len(seeds) // SAMPLE)]].astype(float)
        low, high = np.quantile(some, [TAIL, 1 - TAIL]).tolist()
        margin = (high - low) / 20 or 1.0
        self._low, self._high = low - margin, high + margin
        self._reach = SPREADS * (float(some.std()) or 1.0)
        self._both = torch.zeros(GRID * GRID, dtype=torch.int64)
        self._errors = torch.zeros(RESIDUALS, dtype=torch.int64)

    def update(self, scores: Float[Tensor, " seeds"], target: Float[Tensor, " seeds"]) -> None:
        """Take predictions and truths in the user's units."""
        rows, columns = (bins(v, self._low, self._high, GRID) for v in (scores, target))
        self._both += count(rows * GRID + columns, GRID * GRID)
        errors = scores.double() - target.double()
        self._errors += count(bins(errors, -self._reach, self._reach, RESIDUALS), RESIDUALS)

    def facts(self) -> dict[str, Any]:
        """Return counts: rows are predictions, columns truths; an error is prediction - truth."""
        return {
            "kind": "numbers",
            "range": [self._low, self._high],
            "both": self._both.view(GRID, GRID).tolist(),
            "reach": self._reach,
            "errors": self._errors.tolist(),
        }


class Links:
    """Of links: the scores of edges and of pairs that are none, and the ranks of edges.

    Args:
        bound: the task.
    """

    def __init__(self, bound: BoundLinks) -> None:
        # Every rank up to about 30, then ever fewer.
        every = np.geomspace(1, bound.task.num_candidates + 1, RANKS).round()
        self._ranks = torch.from_numpy(np.unique(every))
        self._at = torch.zeros(len(self._ranks), dtype=torch.int64)
        self._odds = torch.zeros(2 * FINE, dtype=torch.int64)

    def update(
        self, scores: Float[Tensor, "seeds outputs"], target: Shaped[Tensor, "seeds ..."]
    ) -> None:
        """Take the scores of edges, of one negative each, and of candidates (-inf: left out)."""
        edge, negative, candidates = scores[:, :1], scores[:, 1:2], scores[:, 2:]
        self._odds[FINE:] += count(fine_bins(edge), FINE)
        self._odds[:FINE] += count(fine_bins(negative), FINE)
        above, ties = (candidates > edge).sum(1), (candidates == edge).sum(1)
        rank = 1 + above + ties.double() / 2
        self._at += count(torch.searchsorted(self._ranks, rank), len(self._at))

    def facts(self) -> dict[str, Any]:
        """Return counts: of none and edges by log-odds, of edges up to each rank from the last."""
        return {
            "kind": "links",
            "odds": self._odds.view(2, FINE).tolist(),
            "edges": fine_edges(),
            "ranks": self._ranks.int().tolist(),
            "at": self._at.tolist(),
        }


class Vectors:
    """Of feature vectors: how close in direction they are to what is true.

    Args:
        bound: the task.
    """

    def __init__(self, bound: BoundTask) -> None:
        self._cosines = torch.zeros(COSINES, dtype=torch.int64)

    def update(
        self, scores: Float[Tensor, "seeds features"], target: Float[Tensor, "seeds features"]
    ) -> None:
        """Take predicted and true vectors."""
        cosines = F.cosine_similarity(scores.double(), target.double(), dim=1)
        self._cosines += count(bins(cosines, -1, 1, COSINES), COSINES)

    def facts(self) -> dict[str, Any]:
        """Return counts by the cosine, from -1 to 1."""
        return {"kind": "vectors", "cosines": self._cosines.tolist()}
