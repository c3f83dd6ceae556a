"""balancing by the Gramian of the tasks that have a gradient in the step."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.balancing import Facts
from mtl.balancing._solved import Solved

Weigh = Callable[[Float[Tensor, "rows rows"]], Float[Tensor, " rows"]]


def with_gradient(facts: Facts) -> Int[Tensor, " rows"]:
    """Return the tasks that are present and whose gradient is not exactly 0."""
    assert facts.gramian is not None
    assert torch.isfinite(facts.gramian).all(), "the Gramian is not finite"
    return (facts.present & (facts.gramian.diagonal() > 0)).nonzero().squeeze(1)


class OfGramian(Solved):
    """Weights from the block of the Gramian that belongs to tasks with a gradient."""

    def rows(self, facts: Facts) -> Int[Tensor, " rows"]:
        """Return the tasks with a gradient."""
        return with_gradient(facts)

    def solve(self, facts: Facts, rows: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return what `weigh` finds in their block."""
        assert facts.gramian is not None
        return self.weigh(facts.gramian[rows][:, rows], rows, facts)

    @abstractmethod
    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return the weights of the tasks in `rows`, whose Gramian has a positive diagonal."""


class Weighted(OfGramian):
    """Weights that depend on nothing but the Gramian.

    Args:
        weigh: a TorchJD weighting that does not care for the Gramian's scale. It is given one
            whose trace is 1: some take a trace below 1e-4 for 0 (at the representation it falls
            with the number of seeds; the quick start's is 1e-3 at 512 seeds), and then CAGrad's
            weights are all 0, UPGrad's and DualProj's all equal.
    """

    def __init__(self, weigh: Weigh) -> None:
        super().__init__()
        self._weigh = weigh

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return TorchJD's weights."""
        return self._weigh(gramian / gramian.trace())
