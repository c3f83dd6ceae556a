"""balancing by PCD, with a moving average of its own for each task."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchjd.aggregation import PCDWeighting

from mtl.balancing import Facts
from mtl.balancing._gramians import OfGramian

if TYPE_CHECKING:
    from mtl.balancing.pcd import Pcd


class Constrained(OfGramian):
    """PCD's weights; a task's average and its count move in the steps in which it has a gradient.

    Args:
        options: of PCD.
        primary: number of the primary task.
        num_tasks: number of tasks.
    """

    def __init__(self, options: "Pcd", primary: int, num_tasks: int) -> None:
        self._beta, self._eps, self._primary = options.beta, options.eps, primary
        self._weighting = _Scaled(options.tau, options.beta, options.eps)
        self._squares = torch.zeros(num_tasks, dtype=torch.float64)
        self._steps = torch.zeros_like(self._squares)
        super().__init__(squares=self._squares, steps=self._steps)

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return TorchJD's weights, for which the primary task comes first."""
        scales = self._scales(gramian.diagonal(), rows)
        if self._primary not in rows:
            return torch.full_like(scales, 1 / len(rows))
        order = (rows != self._primary).to(torch.int64).argsort(stable=True)
        self._weighting.scales = scales[order]
        weights = torch.empty_like(scales)
        weights[order] = self._weighting(gramian[order][:, order])
        return weights

    def _scales(
        self, squares: Float[Tensor, " rows"], rows: Int[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        self._steps[rows] += 1
        self._squares[rows] = self._beta * self._squares[rows] + (1 - self._beta) * squares
        average = self._squares[rows] / (1 - self._beta ** self._steps[rows])
        return (average + self._eps).sqrt().reciprocal()


class _Scaled(PCDWeighting):
    """TorchJD's PCD with scales that are given: its own forget all when the tasks change."""

    scales: Tensor

    def _update_scales(self, sq_norms: Tensor) -> Tensor:
        return self.scales
