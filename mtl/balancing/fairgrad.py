"""balancing by a fair share of progress for each task (Ban and Ji, 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field, PositiveInt
from torch import Tensor

from mtl.balancing import Balancer, Facts, OnGramian
from mtl.balancing._gramians import OfGramian, Weigh
from mtl.balancing._names import require


@dataclass(frozen=True, kw_only=True)
class FairGrad(OnGramian):
    """FairGrad (Ban and Ji, 2024, equation 4): weights w with G w = w^(-1 / alpha).

    They fix the length of the update whatever that of the gradients: clip it, or use Adam.
    """

    alpha: Annotated[float, Field(ge=0)] = 1.0
    """Fairness: 0 is the mean, 1 proportional (Nash's), the larger the more for the worst-off."""
    max_iters: PositiveInt | None = None
    """Evaluations of the least-squares solver. Default: 100 a task."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        require(self.type, "scipy")
        from torchjd.aggregation import FairGradWeighting

        return Fair(FairGradWeighting(self.alpha, self.max_iters), self.alpha)


class Fair(OfGramian):
    """FairGrad's weights, found at a diagonal of 1.

    With w = s * x and lengths d of the gradients, G w = w^(-1 / alpha) is A x = x^(-1 / alpha) for
    A = diag(s^(1 / alpha)) G diag(s), and s = d^(-2 alpha / (1 + alpha)) makes its diagonal 1.
    TorchJD's solver begins at 1 / tasks: where G's diagonal spans 12 orders, it gets nowhere.
    """

    def __init__(self, weigh: Weigh, alpha: float) -> None:
        super().__init__()
        self._weigh, self._alpha = weigh, alpha

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return TorchJD's weights of the scaled problem, scaled back."""
        lengths = gramian.diagonal().sqrt()
        cosines = gramian / lengths / lengths[:, None]
        power = (self._alpha - 1) / (self._alpha + 1)
        scaled = cosines * lengths[:, None] ** power / lengths**power
        return self._weigh(scaled) * lengths ** (-2 * self._alpha / (1 + self._alpha))
