"""step: what all processes know of it, the same to the last bit, and what they make of NaN."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from job.gramian import Gradients, conflicts
from job.nonfinite import BrokenStepError, Recent
from job.runtime import Runtime
from mtl.balancing import Facts

Policy = Literal["stop", "skip_step", "skip_task"]
PATIENCE = 100
"""Steps in a row that may be skipped."""


class Agreement:
    """Adds up over all processes; refuses numbers that are none, or goes on without them.

    Args:
        names: of the tasks, in the order of losses and Gramian.
        runtime: adds up.
        policy: `train.on_nonfinite`.
    """

    def __init__(self, names: list[str], runtime: Runtime, policy: Policy) -> None:
        self._names, self._runtime, self._policy = names, runtime, policy
        self._record: dict[str, float] = {}
        self._weights: Tensor | None = None
        self._gramian: Tensor | None = None
        self._skipped, self._in_a_row = 0, 0
        self._step, self._bad = 0, list[str]()
        self.recent = Recent()
        self.finite, self.dropped = True, [False] * len(names)

    def begin(self, step: int) -> None:
        """Begin a step, counted from 0."""
        self._step, self._bad = step, []
        self.finite, self.dropped = True, [False] * len(self._names)
        self.recent.begin(step)

    def shared(
        self, facts: Facts, losses: Float[Tensor, " tasks"], gradients: Gradients | None
    ) -> Facts:
        """Return the facts with losses and Gramian of all processes.

        Args:
            facts: what was known before.
            losses: of this process, in float64.
            gradients: of this process, where the Gramian is wanted.

        Raises:
            BrokenStepError: one of them is no finite number, and the policy is to stop.
        """
        size = len(losses)
        with self._runtime.clock("balancing"):
            part = losses.new_zeros(0) if gradients is None else gradients.gramian()
            numbers = torch.cat([losses, part.to(losses).flatten()])
            both = self._runtime.sum(numbers).cpu()
        total = both[:size]
        gramian = None if gradients is None else both[size:].view(size, size)
        good = total.isfinite()
        if gramian is not None:
            good &= gramian.diagonal().isfinite()
        if not good.all():
            self._judge(facts, good)
            total = total.where(good, 0.0)
            gramian = None if gramian is None else gramian.where(good & good[:, None], 0.0)
        return replace(facts, losses=total, gramian=gramian, present=facts.present & good)

    def look(self, facts: Facts, weights: Float[Tensor, " tasks"] | None) -> None:
        """Keep the weights, and how the gradients agree, until the record is due."""
        self._weights = self._weights if weights is None else weights
        self._gramian = self._gramian if facts.gramian is None else facts.gramian

    def allows(self, norm: Tensor) -> bool:
        """Return whether the step may be made; every process answers alike.

        Args:
            norm: of the gradient of all processes.

        Raises:
            BrokenStepError: too many steps in a row were skipped.
        """
        if self._policy == "stop":
            return True  # the meter reads the norm one step late, and ends the job
        scaled = self._runtime.precision == "fp16"  # its scaler skips steps on its own
        good = self.finite and (scaled or bool(norm.isfinite()))
        self._in_a_row = 0 if good else self._in_a_row + 1
        self._skipped += not good
        if self._skipped:
            self._record["train/skipped_steps"] = self._skipped
        if self._in_a_row > PATIENCE:
            fault = f"{self._in_a_row} steps in a row had a loss or a gradient that is not finite"
            raise BrokenStepError(self._step + 1, self._bad, fault)
        return good

    def record(self) -> dict[str, float]:
        """Return what is new since the last call."""
        record, self._record = self._record, {}
        if self._weights is not None:
            pairs = zip(self._names, self._weights.tolist(), strict=True)
            record |= {f"balance/weight/{name}": weight for name, weight in pairs}
        if self._gramian is not None:
            record |= conflicts(self._names, self._gramian)
        self._weights = self._gramian = None
        return record

    def _judge(self, facts: Facts, good: Tensor) -> None:
        named = zip(self._names, good.tolist(), strict=True)
        self._bad = [name for name, is_good in named if not is_good]
        if self._policy == "stop":
            fault = f"the loss of {', '.join(self._bad)}, or its gradient, is not finite"
            raise BrokenStepError(self._step + 1, self._bad, fault)
        self._record |= {f"train/{name}/not_finite_at_step": self._step + 1 for name in self._bad}
        if self._policy == "skip_task":
            self.dropped = [name in self._bad for name in self._names]
        self.finite = self._policy == "skip_task" and bool((facts.present & good).any())
