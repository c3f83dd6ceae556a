"""balancing by projecting conflicts between pairs of tasks away (Yu et al., 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer, OnGramian
from mtl.balancing._gramians import Weighted


@dataclass(frozen=True, kw_only=True)
class PcGrad(OnGramian):
    """PCGrad (Yu et al., 2020, algorithm 1): the sum of gradients, each without what others oppose.

    In an order drawn for each step.
    """

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import PCGradWeighting

        return Weighted(PCGradWeighting())
