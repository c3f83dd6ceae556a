"""track: what the MLflow run of a training gets at its end: status, cost, and a note for people."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from job.mlflow_run import clean

if TYPE_CHECKING:
    from mlflow import MlflowClient

HEADLINES = "graphmtl.headlines"
NOTE = "mlflow.note.content"
NOTE_HEAD = "**Test split**"
COST = "cost/process_hours"
ENDED = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def end_run(client: "MlflowClient", run_id: str | None, summary: dict[str, Any]) -> None:
    """Give the run the headline of each task, its cost, a note with its results, and its status.

    A note that somebody wrote by hand stays.
    """
    assert run_id is not None, "send() comes first"
    metrics = summary.get("metrics", {})
    client.set_tag(run_id, HEADLINES, json.dumps([clean(key) for key in headlines(metrics)]))
    note = client.get_run(run_id).data.tags.get(NOTE, NOTE_HEAD)
    if headlines(metrics) and note.startswith(NOTE_HEAD):
        client.set_tag(run_id, NOTE, results_table(metrics))
    add_cost(client, run_id, summary)
    client.set_terminated(run_id, ENDED[summary["status"]])


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


def add_cost(client: "MlflowClient", run_id: str, summary: Mapping[str, Any]) -> None:
    """Add the hours of this start, times its processes, to those of earlier starts.

    Each start is counted once, however often it is sent: by the step at which it ended.
    """
    step, points = summary.get("step", 0), client.get_metric_history(run_id, COST)
    if "seconds" in summary and all(point.step != step for point in points):
        before = max((point.value for point in points), default=0.0)
        hours = summary["seconds"] * summary["world_size"] / 3600
        client.log_metric(run_id, COST, before + hours, step=step)


def _number(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
