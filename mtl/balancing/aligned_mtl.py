"""balancing by making the gradients orthogonal and of one length (Senushkin et al., 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mtl.balancing import Balancer
from mtl.balancing._preference import OnPreferredGramian, Preferred, preference_of


@dataclass(frozen=True, kw_only=True)
class AlignedMtl(OnPreferredGramian):
    """Aligned-MTL (Senushkin et al., 2023, algorithm 1): gradients of condition number 1."""

    scale_mode: Literal["min", "median", "rmse"] = "min"
    """Length that all components get: the smallest, the median or the root mean square. With min,
    two tasks that almost agree make every step short."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import AlignedMTLWeighting

        weighting = AlignedMTLWeighting(scale_mode=self.scale_mode)
        return Preferred(weighting, preference_of(self.preference, tasks))
