"""step: where the time goes: the parts add up to all that has passed since the start.

On the CPU a mark is a time. On a GPU it is an event on the stream that computes: nobody waits for
it, the time between two of them is the device's own, and it is known as soon as the device has got
there, mostly one step later.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar, cast

import torch

Item = TypeVar("Item")
PARTS = (
    "data",  # waiting for a batch
    "copy",  # of the batch to the device
    "forward",
    "backward",  # with what communication hides behind it
    "balancing",  # gradients and weights of the tasks, where they are looked at
    "communication",  # waiting for other processes when nothing of our own is left to do
    "optimizer",  # clipping, step, zeroing
    "evaluation",  # all of it, with its own data and communication
    "checkpoint",  # all of it, on the processes that wait for it, too
    "other",  # records, displays, Python in between
)
WHOLE = ("evaluation", "checkpoint")


class Timer(Protocol):
    """Marks points in time."""

    def mark(self) -> Any:
        """Return the point where the device is once it has done all that it was asked to."""
        ...

    def passed(self, mark: Any) -> bool:
        """Return whether the device has come to a mark."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Return what lies between two marks that have been passed."""
        ...


class CpuTimer:
    """Marks of a device that does what it is asked at once."""

    def mark(self) -> float:
        """Return now."""
        return time.perf_counter()

    def passed(self, mark: float) -> bool:
        """Return that it is."""
        return True

    def seconds(self, start: float, end: float) -> float:
        """Return the difference."""
        return end - start


class CudaTimer:
    """Marks on the current stream of a GPU."""

    def mark(self) -> torch.cuda.Event:
        """Return an event behind all that the stream was given so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def passed(self, mark: torch.cuda.Event) -> bool:
        """Return whether the stream has come there; does not wait."""
        return bool(mark.query())  # type: ignore[no-untyped-call]

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Return the time on the device."""
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000


class Clock:
    """Seconds of each part. `with clock("forward"): ...` says what the time is spent on.

    The innermost name counts, but for evaluation and checkpoint, which count whole.

    Args:
        timer: of the device that computes.
    """

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self.annotate: Callable[[str], AbstractContextManager[Any]] = lambda part: nullcontext()
        """Entered with each part; the profiler names its records so."""
        self.start()

    def start(self) -> None:
        """Forget all that was."""
        self._part = "other"
        self._marks: deque[tuple[str, Any]] = deque([("other", self._timer.mark())])
        self._seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what happens inside as this part."""
        before = self._part
        if before in WHOLE:
            yield
            return
        self.switch(part)
        try:
            with self.annotate(part):
                yield
        finally:
            self.switch(before)

    def switch(self, part: str) -> None:
        """Count what comes from here on as this part."""
        self._marks.append((part, self._timer.mark()))
        self._part = part

    def each(self, part: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items; what each takes to come counts as this part."""
        iterator, end = iter(items), object()
        while True:
            with self(part):
                item = next(iterator, end)
            if item is end:
                return
            yield cast(Item, item)

    def take(self) -> list[float]:
        """Return the seconds of each of PARTS since the last call, as far as they are known."""
        self.switch(self._part)
        while len(self._marks) > 1 and self._timer.passed(self._marks[1][1]):
            part, start = self._marks.popleft()
            self._seconds[part] += self._timer.seconds(start, self._marks[0][1])
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        return list(taken.values())


def clock_of(device: torch.device) -> Clock:
    """Return the clock of a device."""
    return Clock(CudaTimer() if device.type == "cuda" else CpuTimer())
