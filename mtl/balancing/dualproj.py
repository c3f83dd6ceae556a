"""balancing by projecting the mean gradient to where it hurts no task (Lopez-Paz, 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer
from mtl.balancing._preference import OnPreferredGramian, Preferred, preference_of


@dataclass(frozen=True, kw_only=True)
class DualProj(OnPreferredGramian):
    """DualProj, of Gradient Episodic Memory (Lopez-Paz and Ranzato, 2017, equation 11).

    The direction closest to the mean gradient that no task's gradient opposes.
    """

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import DualProjWeighting

        return Preferred(DualProjWeighting(), preference_of(self.preference, tasks))
