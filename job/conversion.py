"""prepare: how far the conversion of a graph is, on stderr: a bar in a terminal, else lines."""

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from job.progress import clock

if TYPE_CHECKING:
    import rich.progress

DRAW_SECONDS = 0.1
LINE_SECONDS = 5.0


class ConversionProgress:
    """What a GraphWriter reports to: `with ConversionProgress() as report: convert(...)`.

    Nothing is shown where nothing is reported, and the bar goes away at the end.
    """

    def __init__(self) -> None:
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._what = ""
        self._began = monotonic()
        self._due = self._began + LINE_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done of `what` is going on now."""
        now = monotonic()
        begins, shows = what != self._what, sys.stderr.isatty()
        if begins:
            self._what, self._began = what, now
        if shows and (begins or now >= self._due or (total and done >= total)):
            self._due = now + DRAW_SECONDS
            self._draw(what, done, total, begins=begins)
        elif not shows and now >= self._due:
            self._due = now + LINE_SECONDS
            line = ": ".join(filter(None, ("graph", what, self._pace(done, total))))
            print(line, file=sys.stderr, flush=True)

    def _draw(self, what: str, done: int, total: int, *, begins: bool) -> None:
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.start()
        if begins or self._task is None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task = self._bar.add_task(what, total=total or None, pace="")
        pace = self._pace(done, total)
        self._bar.update(self._task, completed=done, pace=pace, refresh=True)

    def _pace(self, done: int, total: int) -> str:
        """Return `12,000 of 50,000  0:42 left`, as far as it is known."""
        if not total:
            return f"{done:,}" if done else ""
        left = (monotonic() - self._began) * (total - done) / done if done else 0.0
        return f"{done:,} of {total:,}" + (f"  {clock(left)} left" if left >= 1 else "")


def _new_bar() -> "rich.progress.Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(None),
        TextColumn("{task.fields[pace]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        expand=True,
    )
