"""evaluation: counts that diagnoses are made of: of log-odds by bin, and of what came true."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_BINS = 15
"""Bins of a reliability diagram (Guo et al., 2017)."""
FINE = 400
ASINH = math.asinh(1000)
"""Log-odds beyond 1000 count as 1000."""
UNIT = 1 << 32
"""Probabilities are added up as whole numbers of 1 / UNIT, so that their order does not matter."""


def bins(
    values: Float[Tensor, "*shape"], low: float, high: float, num: int
) -> Int[Tensor, "*shape"]:
    """Return the bin of each value among equal ones; what lies beyond is in the first or last."""
    share = (values.double().nan_to_num() - low) / (high - low)
    return (share * num).clamp(0, num - 1).long()


def fine_bins(log_odds: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Return the bin of each log-odds; bins are narrow around 0, where most lie."""
    return bins(log_odds.double().nan_to_num().asinh(), -ASINH, ASINH, FINE)


def fine_edges() -> list[float]:
    """Return where the bins of log-odds begin, and where the last ends."""
    return torch.linspace(-ASINH, ASINH, FINE + 1, dtype=torch.float64).sinh().tolist()


def log_odds(probability: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log-odds, finite ones."""
    return probability.double().nan_to_num().logit(1e-12)


def count(index: Int[Tensor, "*shape"], size: int) -> Int[Tensor, " size"]:
    """Count how often each number below `size` is there."""
    return torch.bincount(index.flatten(), minlength=size)


class Reliability:
    """How often what is said with some probability is true, by bins of that probability."""

    def __init__(self) -> None:
        self._num = torch.zeros(NUM_BINS, dtype=torch.int64)
        self._true, self._said = self._num.clone(), self._num.clone()

    def update(self, said: Float[Tensor, " rows"], true: Bool[Tensor, " rows"]) -> None:
        """Take probabilities, and whether what they are of is true."""
        said = said.double().nan_to_num()
        place = bins(said, 0, 1, NUM_BINS)
        self._num += count(place, NUM_BINS)
        self._true += count(place[true], NUM_BINS)
        self._said.index_add_(0, place, (said * UNIT).round().long())

    def facts(self) -> dict[str, Any]:
        """Return for each bin: examples, how many were true, and the sum of the probabilities."""
        said = (self._said.double() / UNIT).tolist()
        return {"num": self._num.tolist(), "true": self._true.tolist(), "said": said}
