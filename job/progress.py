"""track: how far training is, on stderr: a bar in a terminal, else a line every few seconds."""

import sys
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

BAR_SECONDS = 0.2
LINE_SECONDS = 5.0
WINDOW = 60


class Progress:
    """The one progress display of a job.

    Args:
        name: What the bar is called.
        total_steps: Optimizer steps of the whole training.
    """

    def __init__(self, name: str, total_steps: int) -> None:
        self._name = name
        self._total = total_steps
        self._step = 0
        self._seeds = 0
        self._loss: float | None = None
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._due = 0.0
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=WINDOW)

    def start(self, step: int) -> None:
        """Show the display; `step` steps were done by earlier starts of this job."""
        self._step = step
        if sys.stderr.isatty():
            self._open_bar()
        self._due = monotonic() + self._pause

    def advance(self, step: int, num_seeds: int) -> None:
        """Count one optimizer step; draws only when it is due."""
        self._step = step
        self._seeds += num_seeds
        now = monotonic()
        if not self._seen:
            self._seen.append((now, step, self._seeds))
        if now >= self._due:
            self._due = now + self._pause
            self._seen.append((now, step, self._seeds))
            self._draw()

    def show_loss(self, loss: float) -> None:
        """Show this loss from now on."""
        self._loss = loss

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        bar = self._bar  # threads speak while it is stopped
        if bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            bar.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Draw the last state and end the display."""
        if self._seen:
            self._seen.append((monotonic(), self._step, self._seeds))
        self._draw()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def _pause(self) -> float:
        return LINE_SECONDS if self._bar is None else BAR_SECONDS

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = ("{task.description}", BarColumn(None), MofNCompleteColumn())
        self._bar = Progress(
            *columns,
            TextColumn("{task.fields[pace]}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
            expand=True,
        )
        self._task = self._bar.add_task(
            self._name, total=self._total, completed=self._step, pace=""
        )
        self._bar.start()

    def _draw(self) -> None:
        if self._bar is None or self._task is None:
            self.say(f"step {self._step}/{self._total}  {self._pace()}".rstrip())
        else:
            self._bar.update(self._task, completed=self._step, pace=self._pace(), refresh=True)

    def _pace(self) -> str:
        """Return `loss 0.532  12,345 seeds/s  0:42 left`, as far as it is known."""
        words = [] if self._loss is None else [f"loss {self._loss:.3f}"]
        if len(self._seen) > 1:
            (start, first_step, first_seeds), (now, step, seeds) = self._seen[0], self._seen[-1]
            elapsed = max(now - start, 1e-9)
            words.append(f"{(seeds - first_seeds) / elapsed:,.0f} seeds/s")
            if step > first_step:
                left = (self._total - step) * elapsed / (step - first_step)
                words.append(f"{clock(left)} left")
        return "  ".join(words)


def clock(seconds: float) -> str:
    """Write a duration as `0:42` or `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
