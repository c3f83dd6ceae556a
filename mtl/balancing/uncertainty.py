"""balancing by learned uncertainty of the tasks (Kendall et al., 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from mtl.balancing import Balancer, Balancing
from mtl.balancing._learned import Learned


@dataclass(frozen=True, kw_only=True)
class Uncertainty(Balancing):
    """Weights exp(-s_t) / 2; the log-variances s descend sum(exp(-s) L + s) / 2.

    Kendall et al. (2018), section 3.2, with s = log(sigma^2).
    """

    observes: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of Adam for the log-variances: about how far one moves in a step."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what learns; all log-variances begin at 0."""
        return Learned(len(tasks), self.lr, factor=0.5, sign=-1)
