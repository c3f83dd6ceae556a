"""balancing by a function of the losses: each weight is its derivative."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.balancing import Facts
from mtl.balancing._solved import Solved

Scalarize = Callable[[Float[Tensor, " rows"], Int[Tensor, " rows"]], Float[Tensor, ""]]


class Scalarized(Solved):
    """Derivative of a TorchJD scalarizer at the losses of the tasks that are present.

    Args:
        scalarize: losses, and which tasks they are of, to one number.
        of_logarithms: whether it takes logarithms: a task whose loss is 0 is then left out, as it
            has nothing to learn.
    """

    def __init__(self, scalarize: Scalarize, *, of_logarithms: bool = False) -> None:
        super().__init__()
        self._scalarize, self._of_logarithms = scalarize, of_logarithms

    def rows(self, facts: Facts) -> Int[Tensor, " rows"]:
        """Return the tasks that are present, and not solved, where that matters."""
        assert facts.losses is not None
        assert torch.isfinite(facts.losses).all(), "a loss is not finite"
        chosen = facts.present & (facts.losses != 0) if self._of_logarithms else facts.present
        return chosen.nonzero().squeeze(1)

    def solve(self, facts: Facts, rows: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return the derivative."""
        assert facts.losses is not None
        losses = facts.losses[rows].detach().requires_grad_()
        with torch.enable_grad():
            (derivative,) = torch.autograd.grad(self._scalarize(losses, rows), losses)
        return derivative
