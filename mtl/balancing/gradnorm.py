"""balancing by gradients whose lengths follow the tasks' rates of training (Chen et al., 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mtl.balancing import Balancer, Facts, OnGramian
from mtl.balancing._adam import Adam
from mtl.balancing._gramians import OfGramian

SMALLEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class GradNorm(OnGramian):
    """GradNorm (Chen et al., 2018, algorithm 1): learned weights that sum to the number of tasks.

    Adam descends sum_t |w_t n_t - mean(w n) r_t^alpha|, its second term held fixed: n_t is the
    length of task t's gradient and r_t = (L_t / first L_t) / their mean.
    """

    alpha: Annotated[float, Field(ge=0)] = 1.5
    """How hard tasks that learn slowly are pulled; 0 makes all lengths equal."""
    lr: Annotated[float, Field(gt=0)] = 0.025
    """Learning rate of Adam for the weights: about how far one moves in a step."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make what learns; all weights begin at 1."""
        return Lengths(len(tasks), self.alpha, self.lr)


class Lengths(OfGramian):
    """Weights, their moments and each task's first loss above 0.

    A step moves the weights of tasks with a gradient; what these sum to stays.
    """

    def __init__(self, num_tasks: int, alpha: float, lr: float) -> None:
        self._alpha = alpha
        self._first = torch.zeros(num_tasks, dtype=torch.float64)
        self._adam = Adam(torch.ones(num_tasks, dtype=torch.float64), lr)
        super().__init__(**self._adam.memory, first=self._first)

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return the weights before they move, as in the paper."""
        assert facts.losses is not None
        weights, lengths = self._adam.value[rows], gramian.diagonal().sqrt()
        rates = self._rates(facts.losses[rows].clamp(min=0), rows)
        goal = (weights * lengths).mean() * rates**self._alpha
        self._adam.step(lengths * (weights * lengths - goal).sign(), rows)
        moved = self._adam.value[rows].clamp(min=SMALLEST)
        self._adam.value[rows] = moved * weights.sum() / moved.sum()
        return weights

    def _rates(
        self, losses: Float[Tensor, " rows"], rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """Return the inverse training rates; 1 for all where no task has a loss above 0."""
        first = self._first[rows]
        self._first[rows] = first = torch.where(first > 0, first, losses)
        ratios = torch.where(first > 0, losses / first, 1.0)
        mean = ratios.mean()
        return ratios / mean if mean > 0 else torch.ones_like(ratios)
