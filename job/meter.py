"""step: what a step tells about itself, summed over all processes and read one step later.

Reading late lets the device run on; all processes read the same sums, so they stop alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from job.clock import PARTS, WHOLE
from job.hardware import peak_memory
from job.nonfinite import BrokenStepError
from job.runtime import Runtime
from mtl.loaders.microbatch import EMPTY
from mtl.loaders.transfer import moved

GRAD_NORM = "train/grad_norm"


@dataclass
class Totals:
    """What adds up over steps, of all processes together; seconds are the mean over them."""

    steps: int = 0
    seeds: int = 0
    edges: float = 0.0
    seconds: Sequence[float] = (0.0,) * len(PARTS)

    def add(self, seeds: int, edges: float, seconds: Sequence[float]) -> None:
        """Add a step."""
        self.steps, self.seeds, self.edges = self.steps + 1, self.seeds + seeds, self.edges + edges
        self.wait(seconds)

    def wait(self, seconds: Sequence[float]) -> None:
        """Add time that belongs to no step."""
        self.seconds = [a + b for a, b in zip(self.seconds, seconds, strict=True)]

    def times(self) -> dict[str, float]:
        """Return the seconds of each part, a step."""
        return {p: s / max(self.steps, 1) for p, s in zip(PARTS, self.seconds, strict=True)}


@dataclass(frozen=True)
class _Step:
    """A step whose sums are on their way."""

    number: int
    seeds: int
    labelled: list[bool]
    numbers: Callable[[], list[float]]


class Meter:
    """Losses of each task, sampled edges, the norm of the gradient, seconds, and whether to stop.

    Args:
        runtime: sums over the processes; its clock starts here.
        tasks: names, in the order of their losses.
        stops: whether a number that is not finite ends the job; else it is left out.
    """

    def __init__(self, runtime: Runtime, tasks: Sequence[str], *, stops: bool = True) -> None:
        self._runtime, self._tasks, self._stops = runtime, tuple(tasks), stops
        self._waiting: _Step | None = None
        self._step_losses = self._no_losses()
        self._labelled = [False] * len(self._tasks)
        self._step_edges = 0
        self._total, self._window = Totals(), Totals()
        self._peak_bytes = 0
        self.stop = False
        """Some process was asked to stop."""
        runtime.clock.start()

    def add(self, losses: Float[Tensor, " tasks"], batch: Data | HeteroData) -> None:
        """Add this process's part of the losses of one microbatch."""
        self._step_losses += losses.double()
        if batch.number != EMPTY:
            self._labelled = [batch.num_targets[name] > 0 for name in self._tasks]
        self._step_edges += batch.num_edges

    def close(self, step: int, norm: Tensor, num_seeds: int) -> None:
        """End a step: start its sums, and read those of the step before.

        Raises:
            BrokenStepError: the step before had a loss or a gradient that is no finite number.
        """
        facts = [self._step_edges, self._runtime.stop_requested, *self._clock_and_memory()]
        sums = self._runtime.sum(torch.cat([self._step_losses, self._on_device(facts)]))
        self.read()
        numbers = read_later(torch.cat([sums, norm.detach().double().view(1)]))
        self._waiting = _Step(step, num_seeds, self._labelled, numbers)
        self._step_losses, self._step_edges = self._no_losses(), 0

    def read(self) -> dict[str, float]:
        """Return the losses of the last closed step, `{train/TASK/loss: mean over its labels}`.

        A task without a label in that step is left out.

        Raises:
            BrokenStepError: it had a loss or a gradient that is no finite number.
        """
        waiting = self._waiting
        metrics = self.sums()
        if not self._stops:
            return {name: value for name, value in metrics.items() if isfinite(value)}
        if waiting is not None:
            self._check(waiting.number, metrics)
        return metrics

    def sums(self) -> dict[str, float]:
        """Return what `read` does, but whatever the numbers are."""
        if self._waiting is None:
            return {}
        step, self._waiting = self._waiting, None
        *sums, norm = step.numbers()
        losses, (num_edges, stop, *rest) = sums[: len(self._tasks)], sums[len(self._tasks) :]
        self.stop = self.stop or stop > 0
        seconds = self._read_clock_and_memory(rest)
        for totals in (self._total, self._window):
            totals.add(step.seeds, num_edges, seconds)
        known = zip(self._tasks, losses, step.labelled, strict=True)
        return (
            {  # a process whose microbatches are all empty knows no labels, and must find the same
                f"train/{task}/loss": x
                for task, x, labelled in known
                if labelled or not isfinite(x)
            }
            | {GRAD_NORM: norm}
        )

    def record(self) -> dict[str, float]:
        """Return what is due for the record: what `read` does, and the time since the last record.

        `time/PART` is in seconds a step, the mean over the processes; `memory/peak_bytes` the most
        that one of them has needed.
        """
        losses, window = self.read(), self._window
        self._window = Totals()
        times = {f"time/{part}": seconds for part, seconds in window.times().items()}
        return {**losses, **times, "memory/peak_bytes": self._peak_bytes}

    def end(self) -> dict[str, float]:
        """Count what has passed since the last step; return what no record holds yet.

        Every process calls it once, at the end of a training that ends well.
        """
        sums = self._runtime.sum(self._on_device(self._clock_and_memory()))
        seconds = self._read_clock_and_memory(sums.tolist())
        for totals in (self._total, self._window):
            totals.wait(seconds)
        return self.record() if self._window.steps else {}

    def summary(self) -> dict[str, Any]:
        """Return speed, time and memory of this start, over all processes.

        Seeds and edges are counted by the second of training: evaluation and checkpoints are apart.
        """
        total = self._total
        pauses = sum(s for p, s in zip(PARTS, total.seconds, strict=True) if p in WHOLE)
        training = max(sum(total.seconds) - pauses, 1e-9)
        return {
            "throughput": {
                "seeds_per_second": total.seeds / training,
                "edges_per_second": total.edges / training,
            },
            "seconds": sum(total.seconds),
            "time": total.times(),
            "memory": {"peak_bytes": self._peak_bytes},
        }

    def _clock_and_memory(self) -> list[float]:
        """Return seconds by part, then the peak of this process at its place among all."""
        peaks = [0.0] * self._runtime.world_size  # so that a sum brings all of them
        peaks[self._runtime.rank] = peak_memory(self._runtime.device)
        return [*self._runtime.clock.take(), *peaks]

    def _read_clock_and_memory(self, sums: Sequence[float]) -> list[float]:
        """Return the mean seconds by part, and remember the highest peak."""
        self._peak_bytes = max(self._peak_bytes, int(max(sums[len(PARTS) :])))
        return [seconds / self._runtime.world_size for seconds in sums[: len(PARTS)]]

    def _on_device(self, numbers: Sequence[float]) -> Tensor:
        return moved(torch.tensor(numbers, dtype=torch.float64), self._runtime.device)

    def _check(self, step: int, metrics: Mapping[str, float]) -> None:
        bad = [t for t in self._tasks if not isfinite(metrics.get(f"train/{t}/loss", 0))]
        if bad:
            raise BrokenStepError(step, bad, f"the loss of {', '.join(bad)} is not finite")
        if not isfinite(metrics[GRAD_NORM]) and self._runtime.precision != "fp16":
            raise BrokenStepError(step, [], "the gradient is not finite though every loss is")

    def _no_losses(self) -> Float[Tensor, " tasks"]:
        return torch.zeros(len(self._tasks), dtype=torch.float64, device=self._runtime.device)


def read_later(numbers: Float[Tensor, " numbers"]) -> Callable[[], list[float]]:
    """Start a copy to the host; what is returned waits for that alone, not for later work."""
    host = numbers.to("cpu", non_blocking=True)
    if not numbers.is_cuda:
        return host.tolist
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def read() -> list[float]:
        copied.synchronize()
        values: list[float] = host.tolist()
        return values

    return read
