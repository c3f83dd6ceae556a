"""step: what a step tells about itself, summed over all processes and read one step later.

Reading late lets the device run on; all processes read the same sums, so they stop alike.
"""

import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from job.runtime import NonFiniteError, Runtime
from mtl.loaders.microbatch import EMPTY


class Meter:
    """Losses of each task, sampled edges, the norm of the gradient, and whether to stop.

    Args:
        runtime: sums over the processes.
        tasks: names, in the order of their losses.
    """

    def __init__(self, runtime: Runtime, tasks: Sequence[str]) -> None:
        self._runtime, self._tasks = runtime, tuple(tasks)
        self._waiting: tuple[int, Float[Tensor, " sums"], Tensor, list[bool]] | None = None
        self._step_losses = self._no_losses()
        self._labelled = [False] * len(self._tasks)
        self._step_edges = self._num_seeds = 0
        self._num_edges = self._seconds = self._clock = 0.0
        self.stop = False
        """Some process was asked to stop."""

    def start(self) -> None:
        """Start the clock: what passes until the next `close` counts as training."""
        self._clock = time.perf_counter()

    def add(self, losses: Float[Tensor, " tasks"], batch: Data) -> None:
        """Add this process's part of the losses of one microbatch."""
        self._step_losses += losses.double()
        if batch.number != EMPTY:
            self._labelled = [batch.num_targets[name] > 0 for name in self._tasks]
        self._step_edges += batch.num_edges

    def close(self, step: int, norm: Tensor, num_seeds: int) -> None:
        """End a step: start its sums, and read those of the step before.

        Raises:
            NonFiniteError: the step before had a loss or a gradient that is no finite number.
        """
        facts = torch.tensor(
            [self._step_edges, self._runtime.stop_requested],
            dtype=torch.float64,
            device=self._runtime.device,
        )
        sums = self._runtime.sum(torch.cat([self._step_losses, facts]))
        self.read()
        self._waiting = (step, sums, norm.detach(), self._labelled)
        self._step_losses, self._step_edges = self._no_losses(), 0
        self._num_seeds += num_seeds
        self._seconds += time.perf_counter() - self._clock
        self.start()

    def throughput(self) -> dict[str, float]:
        """Return seeds and sampled edges a second of training, over all processes of this start."""
        seconds = max(self._seconds, 1e-9)
        return {
            "seeds_per_second": self._num_seeds / seconds,
            "edges_per_second": self._num_edges / seconds,
        }

    def read(self) -> dict[str, float]:
        """Return the losses of the last closed step, `{train/TASK/loss: mean over its labels}`.

        A task without a label in that step is left out.

        Raises:
            NonFiniteError: it had a loss or a gradient that is no finite number.
        """
        if self._waiting is None:
            return {}
        step, sums, norm, labelled = self._waiting
        self._waiting = None
        *losses, num_edges, stop = sums.tolist()
        self._num_edges += num_edges
        self.stop = self.stop or stop > 0
        self._check(step, losses, float(norm))
        known = zip(self._tasks, losses, labelled, strict=True)
        metrics = {f"train/{task}/loss": loss for task, loss, has_label in known if has_label}
        return {**metrics, "train/grad_norm": float(norm)}

    def _check(self, step: int, losses: list[float], norm: float) -> None:
        bad = [t for t, x in zip(self._tasks, losses, strict=True) if not abs(x) < float("inf")]
        if bad:
            raise NonFiniteError(
                f"step {step}: the training loss of {', '.join(bad)} is not finite; nothing was "
                f"saved since. Lower optim.lr, set optim.clip_norm, or look at the labels"
            )
        if not abs(norm) < float("inf") and self._runtime.precision != "fp16":
            raise NonFiniteError(
                f"step {step}: the gradient is not finite though every loss is; lower optim.lr or "
                f"set train.precision=fp32"
            )

    def _no_losses(self) -> Float[Tensor, " tasks"]:
        return torch.zeros(len(self._tasks), dtype=torch.float64, device=self._runtime.device)
