"""balancing by weights that change slowly (CR-MOGM, Zhou et al., 2022)."""

import torch
from jaxtyping import Float
from torch import Tensor

from mtl.balancing import Balancer, Facts
from mtl.balancing._gramians import with_gradient
from mtl.balancing._memory import Remembering


class Smoothed(Remembering):
    """Moving average of another balancer's weights, over the steps in which a task has a gradient.

    Args:
        balancer: whose weights.
        share: of the average so far; a task's first weight is the average.
        num_tasks: number of tasks.
    """

    def __init__(self, balancer: Balancer, share: float, num_tasks: int) -> None:
        self._balancer, self._share = balancer, share
        self._average = torch.zeros(num_tasks, dtype=torch.float64)
        self._known = torch.zeros(num_tasks, dtype=torch.bool)
        super().__init__(smoothed_average=self._average, smoothed_known=self._known)

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return the average of those that take part."""
        new, rows = self._balancer.weights(facts), with_gradient(facts)
        moved = self._share * self._average + (1 - self._share) * new
        self._average[rows] = torch.where(self._known, moved, new)[rows]
        self._known[rows] = True
        weights = torch.zeros_like(new)
        weights[rows] = self._average[rows]
        return weights

    def state(self) -> dict[str, Tensor]:
        """Return both balancers' state."""
        return {**super().state(), **self._balancer.state()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take both."""
        mine = super().state().keys()
        super().load({name: state[name] for name in mine})
        self._balancer.load({name: state[name] for name in state.keys() - mine})
