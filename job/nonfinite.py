"""step: a step whose numbers are none, and what is kept of the last steps to say where from.

While a job trains, nothing of this is asked of the device: every process leaves the losses of its
microbatches there, and looks at those of the step in question when the job ends.
"""

from collections import deque
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from job.runtime import NonFiniteError, Runtime
from mtl.loaders.microbatch import EMPTY

Seen = tuple[int, int, list[float]]
"""A microbatch, the process that made it, and its part of the loss of each task."""


class BrokenStepError(NonFiniteError):
    """A loss or a gradient of a step is no finite number; all processes find it alike.

    Args:
        step: its number as in metrics.jsonl: the first one is 1.
        tasks: whose numbers; none where the gradient of all together is meant.
        fault: what is wrong, in words.
    """

    def __init__(self, step: int, tasks: Sequence[str], fault: str) -> None:
        super().__init__(f"step {step}: {fault}")
        self.step, self.tasks, self.fault = step, list(tasks), fault


class Recent:
    """The losses of this process's microbatches in its last two steps, left on the device."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, list[Tensor]]] = deque(maxlen=2)

    def begin(self, step: int) -> None:
        """Begin a step, counted from 0."""
        self._steps.append((step, []))

    def add(self, number: int, losses: Float[Tensor, " tasks"]) -> None:
        """Keep the losses of a microbatch, without waiting for them."""
        place = losses.new_full((1,), number, dtype=torch.float64)
        self._steps[-1][1].append(torch.cat([place, losses.double()]))

    def of(self, step: int, runtime: Runtime) -> list[Seen]:
        """Return the microbatches of a step, counted from 0, of all processes; all of them ask."""
        mine = torch.stack(dict(self._steps)[step])
        everyone = runtime.gather(mine.flatten(), [mine.numel()] * runtime.world_size)
        seen = [
            (int(number), rank, losses)
            for rank, part in enumerate(everyone)
            for number, *losses in part.view(mine.shape).tolist()
        ]
        return sorted(row for row in seen if row[0] != EMPTY)
