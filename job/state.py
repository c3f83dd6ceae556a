"""state: exactly what a checkpoint holds."""

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
    stopped_early: bool = False
    """`evaluate.patience` was exhausted."""

    def update(self, score: float, *, higher_is_better: bool, patience: int | None) -> bool:
        """Take the score of an evaluation; return whether it is the best so far.

        Args:
            score: the same on every process, so all stop alike.
            higher_is_better: direction of the score.
            patience: evaluations without a new best after which training stops early.
        """
        sign = 1 if higher_is_better else -1
        improved = self.best_score is None or sign * score > sign * self.best_score
        if improved:
            self.best_score, self.best_step = score, self.step
        self.evaluations_without_gain = 0 if improved else self.evaluations_without_gain + 1
        self.stopped_early = patience is not None and self.evaluations_without_gain >= patience
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
