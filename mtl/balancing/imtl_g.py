"""balancing by equal projections on all gradients (Liu et al., 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer, OnGramian
from mtl.balancing._gramians import Weighted


@dataclass(frozen=True, kw_only=True)
class ImtlG(OnGramian):
    """IMTL-G (Liu et al., 2021, section 3.1): the combination that advances all tasks alike.

    Its projection on each gradient has one length. Weights sum to 1 and may be negative.
    """

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import IMTLGWeighting

        return Weighted(IMTLGWeighting())
