"""state: exactly what a checkpoint holds."""

import math
from dataclasses import dataclass, field
from typing import Any

from torch import nn, optim

from job.runtime import Runtime


@dataclass
class Progress:
    """How far the training is, and how good it was at its best."""

    step: int = 0
    """Optimizer steps done."""
    best_score: float | None = None
    """Best value so far of `evaluate.select`."""
    best_step: int | None = None
    """Step at which that was."""
    evaluations_without_gain: int = 0
    """Evaluations since then: early stopping counts them."""

    def is_over(self, num_steps: int, patience: int | None) -> bool:
        """Return whether nothing is left to train: all steps done, or no gain for too long."""
        exhausted = patience is not None and self.evaluations_without_gain >= patience
        return self.step >= num_steps or exhausted

    def update(self, score: float, sign: int) -> bool:
        """Take the score of an evaluation; return whether it is the best so far.

        Args:
            score: the same on every process, so all decide alike; NaN is never the best.
            sign: 1 where higher is better, -1 where lower is.
        """
        best = -math.inf if self.best_score is None else sign * self.best_score
        improved = sign * score > best
        if improved:
            self.best_score, self.best_step = score, self.step
        self.evaluations_without_gain = 0 if improved else self.evaluations_without_gain + 1
        return improved


@dataclass
class TrainState:
    """All that the next step depends on.

    The data order and everything random follow from `run.seed` and the step, the learning rate
    from the step.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    runtime: Runtime
    progress: Progress = field(default_factory=Progress)

    def scalars(self) -> dict[str, Any]:
        """Return what is no tensor, for state.json."""
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.state_dict()["param_groups"]
        ]
        return {
            "progress": vars(self.progress),
            "param_groups": groups,
            "scaler": self.runtime.scaler_state,
        }
