"""balancing by a smooth maximum of the losses (Lin et al., 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from mtl.balancing import Balancer, OnLosses
from mtl.balancing._preference import Preference, preference_of
from mtl.balancing._scalarized import Scalarized


@dataclass(frozen=True, kw_only=True)
class Stch(OnLosses):
    """Smooth Tchebycheff scalarization (Lin et al., 2024): mu log(sum_t exp(p_t L_t / mu))."""

    mu: Annotated[float, Field(gt=0)] = 0.1
    """The smaller, the more the task with the largest loss counts alone."""
    preference: Preference = None
    """p_t of every task. Default: 1 / number of tasks that are present."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's scalarizer."""
        from torchjd.scalarization import STCH

        scalarizer, preference = STCH(self.mu), preference_of(self.preference, tasks)

        def scalarize(losses: Tensor, rows: Tensor) -> Tensor:
            scalarizer.weights = None if preference is None else preference[rows]
            return scalarizer(losses)

        return Scalarized(scalarize)
