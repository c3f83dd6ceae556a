"""report: a finished run as its directory tells it."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from job.comparison import task_of
from job.config import tree_at
from job.mlflow_end import headlines
from job.record import DIAGNOSIS, parse, read_json
from mtl.errors import ConfigError

MAX_POINTS = 200
DRAWN = ("train/", "val/", "conflict/", "balance/")
"""What metrics are read of a training: half of all, and it may be long."""
FILES = ("config.yaml", "dataset.json", "metrics.jsonl", "summary.json")
Points = list[tuple[int, float]]
"""Steps, and what was recorded there."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that a report tells of one run."""

    name: str
    config: dict[str, Any]
    card: dict[str, Any]
    """Of the graph."""
    summary: dict[str, Any]
    series: dict[str, Points]
    """Metrics over the training."""
    diagnosis: dict[str, dict[str, Any]]
    """Of the test split, by task; empty for a run that is older than diagnoses."""

    @property
    def metrics(self) -> dict[str, float]:
        """What the run reached in the end, by name."""
        metrics: dict[str, float] = self.summary["metrics"]
        return metrics

    @property
    def tasks(self) -> list[str]:
        """All tasks, in their order."""
        return [*self.summary["best_reachable"]]

    @property
    def heads(self) -> dict[str, str]:
        """The metric `test/TASK/METRIC` that stands for each task that has any."""
        return {task_of(key): key for key in headlines(self.metrics)}


def read_run(run_dir: Path) -> Run:
    """Read a run directory.

    Raises:
        ConfigError: It is none, or its run has no results (yet).
    """
    missing = [name for name in FILES if not (run_dir / name).is_file()]
    if missing:
        raise ConfigError(f"{run_dir}: no directory of a finished run ({missing[0]} missing)")
    summary = read_json(run_dir / "summary.json", "status", "metrics", "best_reachable")
    if summary["status"] != "finished":
        raise ConfigError(f"{run_dir}: the run is {summary['status']}; the same command goes on")
    config = tree_at(run_dir / "config.yaml")
    diagnosis = run_dir / DIAGNOSIS
    return Run(
        name=config["run"]["name"],
        config=config,
        card=read_json(run_dir / "dataset.json"),
        summary=summary,
        series=read_series(run_dir / "metrics.jsonl"),
        diagnosis=read_json(diagnosis) if diagnosis.is_file() else {},
    )


def read_series(path: Path) -> dict[str, Points]:
    """Return steps and values of each metric of the training.

    Of a step that has two, the first: at the end, what the kept checkpoint reaches is recorded once
    more.
    """
    series: dict[str, dict[int, float]] = defaultdict(dict)
    with path.open("rb") as file:
        for record in filter(None, map(parse, file)):
            for name, value in record.items():
                if value is not None and name.startswith(DRAWN):
                    series[name].setdefault(record["step"], value)
    return {name: [*points.items()] for name, points in series.items()}


def below(named: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return what stands under a prefix, by the rest of its name."""
    return {n.removeprefix(prefix): v for n, v in named.items() if n.startswith(prefix)}


def thinned(points: Points) -> tuple[list[float], list[float]]:
    """Return steps and values, as means of neighbours where there are more than a line shows."""
    parts = np.array_split(np.array(points, dtype=float), min(len(points), MAX_POINTS))
    steps, values = np.array([part.mean(axis=0) for part in parts]).T
    return steps.tolist(), [float(f"{value:.5g}") for value in values]
