"""track: what the MLflow run of a training gets at its end: status, cost, and a note for people."""

import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from job.mlflow_run import clean

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

HEADLINES = "graphmtl.headlines"
NOTE = "mlflow.note.content"
NOTE_HEAD = "**Test split**"
COST = "cost/process_hours"
ENDED = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def end_run(client: "MlflowClient", run: "Run", summary: dict[str, Any], ended: int | None) -> None:
    """Give the run the headline of each task, its cost, a note with its results, and its status.

    A note that somebody wrote by hand stays.

    Args:
        client: of the store.
        run: as the store has it.
        summary: what summary.json holds.
        ended: when, in milliseconds; None is now.
    """
    from mlflow.entities import RunTag

    run_id, metrics = run.info.run_id, summary.get("metrics", {})
    tags = {HEADLINES: json.dumps([clean(key) for key in headlines(metrics)])}
    if headlines(metrics) and run.data.tags.get(NOTE, NOTE_HEAD).startswith(NOTE_HEAD):
        tags[NOTE] = results_table(metrics)
    texts = [RunTag(key, text) for key, text in tags.items()]
    client.log_batch(run_id, metrics=cost(run, summary), tags=texts)
    client.set_terminated(run_id, ENDED[summary["status"]], ended)


def headlines(metrics: Mapping[str, float | None]) -> list[str]:
    """Return the metric that stands for each task: its first; the loss where it has no other."""
    first: dict[str, str] = {}
    for key in filter(re.compile("test/.+/.+").fullmatch, metrics):
        task = key.rpartition("/")[0]
        if first.setdefault(task, key).endswith("/loss"):
            first[task] = key
    return list(first.values())


def results_table(metrics: Mapping[str, float | None]) -> str:
    """Write the test metrics of each task, beside what guessing reaches, in Markdown."""
    lines = [f"{NOTE_HEAD}, the first metric of each task in bold", ""]
    lines += ["| task | metric | trivial | result |", "|---|---|---:|---:|"]
    first = headlines(metrics)
    for head in first:
        split_task = head.rpartition("/")[0]
        keys = [key for key in metrics if key.rpartition("/")[0] == split_task]
        for key in sorted(keys, key=lambda key: key != head):
            names = key.removeprefix("test/").replace("|", "/").rpartition("/")
            trivial = _number(metrics.get(key.replace("test/", "trivial/", 1)))
            bold = "**" if key == head else ""
            result = f"{bold}{_number(metrics[key])}{bold}"
            lines.append(f"| {names[0]} | {names[2]} | {trivial} | {result} |")
    return "\n".join(lines)


def cost(run: "Run", summary: Mapping[str, Any]) -> "list[Metric]":
    """Return the hours of this start, times its processes, added to those of earlier starts.

    Each start is counted once, however often it is sent: by the step at which it ended.
    """
    from mlflow.entities import Metric

    step = summary.get("step", 0)
    before = [metric for metric in run.data._metric_objs if metric.key == COST]
    if "seconds" not in summary or any(metric.step == step for metric in before):
        return []
    hours = summary["seconds"] * summary["world_size"] / 3600
    total = hours + sum(metric.value for metric in before)
    return [Metric(COST, total, round(1000 * time.time()), step)]


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
