"""balancing by projecting each gradient to where it hurts no task (Quinton and Rey, 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer
from mtl.balancing._preference import OnPreferredGramian, Preferred, preference_of


@dataclass(frozen=True, kw_only=True)
class UpGrad(OnPreferredGramian):
    """UPGrad (Quinton and Rey, 2024): the mean of the gradients, each projected.

    A projection goes onto the cone of directions that no task's gradient opposes.
    """

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        from torchjd.aggregation import UPGradWeighting

        return Preferred(UPGradWeighting(), preference_of(self.preference, tasks))
