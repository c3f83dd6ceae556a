"""balancing by a number a task that Adam learns, in the steps in which the task is present."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1), with a count of steps for each number.

    torch's moves all numbers of a tensor, by their old moments, also where there is no gradient.

    Args:
        start: the numbers at first.
        lr: learning rate.
        weight_decay: this share of a number is added to its gradient.
    """

    def __init__(self, start: Float[Tensor, " tasks"], lr: float, weight_decay: float = 0) -> None:
        self.value = start.clone()
        self._lr, self._weight_decay = lr, weight_decay
        self._mean, self._square, self._steps = (torch.zeros_like(start) for _ in range(3))

    @property
    def memory(self) -> dict[str, Tensor]:
        """The tensors that it changes, to be put into a balancer's state."""
        moments = {"mean": self._mean, "square": self._square, "steps": self._steps}
        return {"value": self.value, **moments}

    def step(self, gradient: Float[Tensor, " rows"], rows: Int[Tensor, " rows"]) -> None:
        """Move the numbers in `rows` against their gradient."""
        gradient = gradient + self._weight_decay * self.value[rows]
        steps = self._steps[rows] + 1
        mean = MEAN_DECAY * self._mean[rows] + (1 - MEAN_DECAY) * gradient
        square = SQUARE_DECAY * self._square[rows] + (1 - SQUARE_DECAY) * gradient.square()
        size = (square / (1 - SQUARE_DECAY**steps)).sqrt() + EPSILON
        self.value[rows] -= self._lr * mean / (1 - MEAN_DECAY**steps) / size
        self._mean[rows], self._square[rows], self._steps[rows] = mean, square, steps
