"""balancing by the geometric mean of the losses (Chennupati et al., 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer, OnLosses
from mtl.balancing._scalarized import Scalarized


@dataclass(frozen=True, kw_only=True)
class GeometricMean(OnLosses):
    """Geometric loss strategy (Chennupati et al., 2019): (prod_t L_t)^(1 / tasks).

    Weights mean / (tasks * L_t): each task counts by the relative change of its loss.
    """

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's scalarizer."""
        from torchjd.scalarization import GeometricMean as Scalarizer

        scalarizer = Scalarizer()
        return Scalarized(lambda losses, rows: scalarizer(losses), of_logarithms=True)
