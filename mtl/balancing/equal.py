"""balancing by equal weights: the strong baseline of Kurin et al. (2022) and Xin et al. (2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.balancing import Balancer, Balancing
from mtl.balancing._fixed import Fixed


@dataclass(frozen=True, kw_only=True)
class Equal(Balancing):
    """The mean over all tasks; one without a label in a step contributes 0."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make the weights 1 / number of tasks."""
        return Fixed([1 / len(tasks)] * len(tasks))
