"""balancing by the shortest convex combination of the gradients (Sener and Koltun, 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PositiveInt

from mtl.balancing import Balancer, OnGramian
from mtl.balancing._gramians import Weighted


@dataclass(frozen=True, kw_only=True)
class Mgda(OnGramian):
    """Multiple-gradient descent (Desideri, 2012; Sener and Koltun, 2018, algorithm 2).

    Weights sum to 1; tasks with small gradients get most of it.
    """

    epsilon: Annotated[float, Field(gt=0)] = 1e-3
    """Frank-Wolfe stops at a step of this size."""
    max_iters: PositiveInt = 100
    """And after so many steps at the latest."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import MGDAWeighting

        return Weighted(MGDAWeighting(self.epsilon, self.max_iters))
