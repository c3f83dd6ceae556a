"""balancing by how fast the losses fell over the last two epochs (Liu et al., 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mtl.balancing import Balancer, Balancing, Facts
from mtl.balancing._memory import Remembering

RATE_LIMIT = 1e6


@dataclass(frozen=True, kw_only=True)
class Dwa(Balancing):
    """Dynamic weight average (Liu et al., 2019, equation 7): softmax(r_t / temperature) * tasks.

    r_t is the mean loss of the last epoch over that of the one before; 1 for a task that has not
    been seen in two epochs, or whose older mean is 0.
    """

    observes: ClassVar[bool] = True

    temperature: Annotated[float, Field(gt=0)] = 2.0
    """The larger, the more alike the weights."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what remembers the epochs."""
        return EpochRates(len(tasks), self.temperature)


class EpochRates(Remembering):
    """Mean losses of this epoch and of the two that are over, each over a task's own steps."""

    def __init__(self, num_tasks: int, temperature: float) -> None:
        self._temperature = temperature
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._sum, self._steps, self._older, self._newer, self._known = torch.zeros(
            5, num_tasks, dtype=torch.float64
        )
        epochs = {"older": self._older, "newer": self._newer, "known": self._known}
        super().__init__(epoch=self._epoch, sum=self._sum, steps=self._steps, **epochs)

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return the weights of the epoch."""
        self._roll(facts.epoch)
        known = (self._known == 2) & (self._older > 0)
        rates = torch.where(known, self._newer / self._older, 1.0).clamp(-RATE_LIMIT, RATE_LIMIT)
        return len(rates) * (rates / self._temperature).softmax(0) * facts.present

    def observe(self, facts: Facts) -> None:
        """Add the losses of a step to their epoch's."""
        assert facts.losses is not None
        self._roll(facts.epoch)
        self._sum += facts.losses * facts.present
        self._steps += facts.present

    def _roll(self, epoch: int) -> None:
        """Close the epoch of the sums, where a new one has begun, for the tasks it has seen."""
        if epoch == self._epoch:
            return
        seen = self._steps > 0
        self._older[seen] = self._newer[seen]
        self._newer[seen] = (self._sum / self._steps)[seen]
        self._known[seen] = (self._known[seen] + 1).clamp(max=2)
        self._sum.zero_()
        self._steps.zero_()
        self._epoch.fill_(epoch)
