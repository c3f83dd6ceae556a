"""balancing by a log-scale a task, learned from its losses."""

import torch
from jaxtyping import Float
from torch import Tensor

from mtl.balancing import Facts
from mtl.balancing._adam import Adam
from mtl.balancing._memory import Remembering


class Learned(Remembering):
    """Weights factor * exp(sign * s_t), where s descends factor * sum(exp(sign * s) L - sign * s).

    s of a task stays where its loss is 0 (it would run to infinity) or the task is not present.

    Args:
        num_tasks: number of tasks.
        lr: learning rate of Adam.
        factor: of the objective.
        sign: of the learned number: 1 or -1.
    """

    def __init__(self, num_tasks: int, lr: float, *, factor: float, sign: int) -> None:
        self._adam = Adam(torch.zeros(num_tasks, dtype=torch.float64), lr)
        self._factor, self._sign = factor, sign
        super().__init__(**self._adam.memory)

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return what has been learned so far."""
        return self._learned() * facts.present

    def observe(self, facts: Facts) -> None:
        """Learn from the losses of the step."""
        assert facts.losses is not None
        rows = (facts.present & (facts.losses > 0)).nonzero().squeeze(1)
        slope = self._sign * (self._learned() * facts.losses - self._factor)
        self._adam.step(slope[rows], rows)

    def _learned(self) -> Float[Tensor, " tasks"]:
        return self._factor * torch.exp(self._sign * self._adam.value)
