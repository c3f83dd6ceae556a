"""evaluate: what a run ends with: its summary, and the table that people read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from job.meter import Meter
from job.runtime import Runtime, StoppedError
from job.state import Progress
from job.track import Status, Tracker


@contextmanager
def summarized(
    tracker: Tracker, progress: Progress, meter: Meter, runtime: Runtime
) -> Iterator[dict[str, Any]]:
    """Give a summary to fill in, and hand it to the tracker however the training ends."""
    summary: dict[str, Any] = {"metrics": {}}
    status: Status = "failed"
    try:
        yield summary
        status = "finished"
    except StoppedError:
        status = "stopped"
        raise
    finally:
        facts = {"step": progress.step, "best_step": progress.best_step}
        throughput = {"throughput": meter.throughput(), "world_size": runtime.world_size}
        tracker.finish(status, {**facts, **summary, **throughput})


def show(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print task, metric, trivial baseline, result, and the best reachable where it is known."""
    metrics: dict[str, float] = summary["metrics"]
    best: dict[str, dict[str, float]] = summary["best_reachable"]
    table = Table(title="test split, best checkpoint", title_justify="left")
    for column in ("task", "metric"):
        table.add_column(column)
    for column in ("trivial baseline", "result", *["best reachable"] * any(best.values())):
        table.add_column(column, justify="right", style="bold" if column == "result" else None)
    for task, reachable in best.items():
        names = [key.split("/")[2] for key in metrics if key.startswith(f"test/{task}/")]
        names.sort(key=lambda name: name not in reachable)
        for name in names:
            values = [metrics[f"trivial/{task}/{name}"], metrics[f"test/{task}/{name}"]]
            values += [reachable[name]] if name in reachable else []
            if name != "loss":
                table.add_row(task, name, *(f"{value:.3f}" for value in values))
        table.add_section()
    (console or Console()).print(table)
