"""evaluate: what a run ends with: its summary, and the table that people read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from job.gates import gate_table
from job.meter import Meter
from job.runtime import Runtime, StoppedError
from job.signals import Interruption
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
    except (StoppedError, Interruption):
        status = "stopped"
        raise
    finally:
        runtime.unwatch()
        summary |= {
            "step": progress.step,
            "best_step": progress.best_step,
            **meter.summary(),
            "world_size": runtime.world_size,
        }
        tracker.finish(status, summary)


def show(summary: Mapping[str, Any], split: str, console: Console | None = None) -> None:
    """Print task, metric, trivial baseline, result, and the best reachable where it is known.

    Where the summary is of a training, where its time went stands above.
    """
    metrics: dict[str, float] = summary["metrics"]
    undefined: dict[str, str] = summary.get("undefined", {})
    confidence: dict[str, tuple[float, float]] = summary.get("confidence", {})
    best: dict[str, dict[str, float]] = summary["best_reachable"]
    table = Table(title=f"{split} split", title_justify="left")
    for column in ("task", "metric"):
        table.add_column(column)
    for column in ("trivial baseline", "result", *["best reachable"] * any(best.values())):
        table.add_column(column, justify="right", style="bold" if column == "result" else None)
    for task, reachable in best.items():
        keys = (key.split("/") for key in (*metrics, *undefined))
        names = list(
            dict.fromkeys(k[2] for k in keys if k[:2] in ([split, task], ["trivial", task]))
        )
        for name in sorted(names, key=lambda name: name not in reachable):
            values = [metrics.get(f"{prefix}/{task}/{name}") for prefix in ("trivial", split)]
            cells = ["undefined" if value is None else f"{value:.3f}" for value in values]
            if interval := confidence.get(f"{split}/{task}/{name}"):
                cells[1] += " ({:.3f} to {:.3f})".format(*interval)
            cells += [f"{reachable[name]:.3f}"] if name in reachable else []
            if name != "loss":
                table.add_row(task, name, *cells)
        table.add_section()
    console = console or Console()
    if "time" in summary:
        console.print(where_the_time_went(summary), highlight=False, soft_wrap=True)
    console.print(table)
    for key, why in undefined.items():
        if key.startswith(f"{split}/"):
            console.print(f"{key.removeprefix(f'{split}/')} is undefined: {why}", soft_wrap=True)
    if (gates := gate_table(metrics)) is not None:
        console.print(gates)


def where_the_time_went(summary: Mapping[str, Any]) -> str:
    """Say the parts of the time that make up a percent, the largest first."""
    total = max(sum(summary["time"].values()), 1e-9)
    shares = {part: 100 * seconds / total for part, seconds in summary["time"].items()}
    parts = sorted(shares.items(), key=lambda item: -item[1])
    words = ", ".join(f"{part} {share:.0f} %" for part, share in parts if share >= 0.5)
    speed, peak = summary["throughput"], summary["memory"]["peak_bytes"]
    return (
        f"{summary['seconds']:.1f} s: {words}\n"
        f"{speed['seeds_per_second']:,.0f} seeds/s, {speed['edges_per_second']:,.0f} edges/s in "
        f"training; at most {peak / 1e9:.2f} GB a process"
    )
