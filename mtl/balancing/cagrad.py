"""balancing by the best worst case near the mean gradient (Liu et al., 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mtl.balancing import Balancer, OnGramian
from mtl.balancing._gramians import Weighted
from mtl.balancing._names import require


@dataclass(frozen=True, kw_only=True)
class CaGrad(OnGramian):
    """CAGrad (Liu et al., 2021, algorithm 1): the direction that helps the worst-off task most.

    Among those within c times the mean gradient's length from it.
    """

    c: Annotated[float, Field(ge=0)] = 0.5
    """Radius, as a share of the mean gradient's length. 0 is the mean; the larger, the more
    the task that gains least counts."""
    norm_eps: Annotated[float, Field(gt=0)] = 1e-4
    """Below this length of the worst-case direction, as a share of the root of all squared lengths,
    no direction helps all tasks, and all weights are 0. That is also so where one task's gradient
    is so much larger than another's."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        require(self.type, "cvxpy", "clarabel")
        from torchjd.aggregation import CAGradWeighting

        return Weighted(CAGradWeighting(self.c, self.norm_eps))
