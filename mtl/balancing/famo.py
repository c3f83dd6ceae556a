"""balancing by equal rates of improvement, from losses alone (Liu et al., 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mtl.balancing import Balancer, Facts, OnLosses
from mtl.balancing._adam import Adam
from mtl.balancing._memory import Remembering

EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Famo(OnLosses):
    """FAMO (Liu et al., 2023, algorithm 2): weights z_t / L_t, to sum 1, where z = softmax(logits).

    Adam moves the logits towards tasks whose log-loss fell less in the step.
    """

    looks_back: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.025
    """Learning rate of Adam for the logits."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    """Pull of the logits to 0, that is to equal z."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what learns; all logits begin at 0."""
        return Rates(len(tasks), self.lr, self.weight_decay)


class Rates(Remembering):
    """Logits of the tasks; a step counts for those that are present with a loss above 0.

    Written out: TorchJD's FAMO moves the logits of all tasks and keeps Adam out of its state.
    """

    def __init__(self, num_tasks: int, lr: float, weight_decay: float) -> None:
        self._adam = Adam(torch.zeros(num_tasks, dtype=torch.float64), lr, weight_decay)
        self._before = torch.zeros(num_tasks, dtype=torch.float64)
        super().__init__(**self._adam.memory, before=self._before)

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return the weights and keep the losses, 0 of those that take no part."""
        assert facts.losses is not None
        assert torch.isfinite(facts.losses).all(), "a loss is not finite"
        self._before.copy_(facts.losses.clamp(min=0) * facts.present)
        rows, weights = self._rows(), torch.zeros_like(self._before)
        scaled = self._adam.value[rows].softmax(0) / (self._before[rows] + EPSILON)
        weights[rows] = scaled / scaled.sum()
        return weights

    def observe_again(self, losses: Float[Tensor, " tasks"]) -> None:
        """Move the logits by what the step made of the losses; none may be infinite or NaN."""
        if not torch.isfinite(losses).all():
            return
        rows = self._rows()
        before, after = self._before[rows] + EPSILON, losses[rows].clamp(min=0) + EPSILON
        fall, share = before.log() - after.log(), self._adam.value[rows].softmax(0)
        self._adam.step(share * (fall - (share * fall).sum()), rows)

    def _rows(self) -> Tensor:
        return self._before.nonzero().squeeze(1)
