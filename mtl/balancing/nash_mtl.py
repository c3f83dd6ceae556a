"""balancing by a bargain between the tasks (Navon et al., 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from mtl.balancing import Balancer, Facts, OnGramian
from mtl.balancing._gramians import OfGramian
from mtl.balancing._names import require

if TYPE_CHECKING:
    from torchjd.aggregation import NashMTL


@dataclass(frozen=True, kw_only=True)
class NashMtl(OnGramian):
    """Nash-MTL (Navon et al., 2022, algorithm 1): weights w with G w = 1 / w, then a longest step.

    The update does not depend on the scales of the losses. It takes tens of milliseconds a step.
    """

    max_norm: Annotated[float, Field(ge=0)] = 1.0
    """Length of the combined gradient, where it is taken (`at`); the bargain's own is the root of
    the number of tasks, whatever the gradients'. 0 keeps that."""
    update_weights_every: PositiveInt = 1
    """Steps for which a bargain holds, in units of the present lengths of the gradients."""
    optim_niter: PositiveInt = 20
    """Convex problems that are solved for a bargain, at most."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make what bargains."""
        require(self.type, "cvxpy", "ecos")
        return Bargain(len(tasks), self)


class Bargain(OfGramian):
    """Shares of the tasks for gradients of length 1: G w = 1 / w does not care for lengths.

    TorchJD's solver does: where one gradient is 1e6 times as long as another, or the gradients are
    very short, its weights miss the equation by 100 %. So it is given the cosines.
    """

    def __init__(self, num_tasks: int, options: NashMtl) -> None:
        self._options = options
        self._games: dict[int, NashMTL] = {}
        self._shares = torch.ones(num_tasks, dtype=torch.float64)
        self._steps = torch.zeros((), dtype=torch.int64)
        super().__init__(shares=self._shares, steps=self._steps)

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return the weights and remember the shares."""
        lengths = gramian.diagonal().sqrt()
        if self._steps % self._options.update_weights_every == 0:
            cosines = gramian / lengths / lengths[:, None]
            self._shares[rows] = self._bargain(cosines, self._shares[rows])
        self._steps += 1
        weights = self._shares[rows] / lengths
        length = (weights @ gramian @ weights).clamp(min=0).sqrt()
        too_long = 0 < self._options.max_norm < length
        return weights * self._options.max_norm / length if too_long else weights

    def _bargain(
        self, cosines: Float[Tensor, "rows rows"], start: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        if len(start) == 1:
            return torch.ones_like(start)  # the solver refuses it
        values, vectors = torch.linalg.eigh(cosines)
        game = self._game(len(start))
        game.weighting.prvs_alpha = start.numpy().copy()
        weights: Tensor = game.weighting(vectors * values.clamp(min=0).sqrt())
        return weights

    def _game(self, num_tasks: int) -> "NashMTL":
        """Return the problem of so many tasks; it bargains in each call and clips nothing."""
        from torchjd.aggregation import NashMTL

        if num_tasks not in self._games:
            niter = self._options.optim_niter
            self._games[num_tasks] = NashMTL(num_tasks, max_norm=0.0, optim_niter=niter)
        return self._games[num_tasks]
