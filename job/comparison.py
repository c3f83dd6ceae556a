"""compare: what runs have in common and where they differ, as plain rows."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from job.mlflow_end import COST, HEADLINES
from job.mlflow_run import PLACES

if TYPE_CHECKING:
    from mlflow.entities import Run

GAIN = "delta_m"
LOWER_IS_BETTER = {"loss", "mae", "rmse", "mse"}
MEAN_GAIN = "test/mean_gain"
OTHERS = [GAIN, MEAN_GAIN, "val/mean_gain", "throughput/seeds_per_second", COST]
SEED = "run.seed"


@dataclass(kw_only=True)
class Gain:
    """How much better than the baseline, in its units: .05 is 5 % of its value."""

    value: float
    """Over the means of all seeds."""
    by_seed: dict[str, float]
    """Of the seeds that both have."""
    p: float | None = None
    """Of a two-sided t-test over these pairs; None for too few."""
    p_holm: float | None = None
    """The same, after Holm's correction over the rows that are compared."""


@dataclass(kw_only=True)
class Row:
    """One run, or several that differ in the seed alone."""

    name: str
    run_ids: list[str]
    status: str
    metrics: dict[str, float]
    """Last value of each metric; the mean where there are several runs."""
    spread: dict[str, float] = field(default_factory=dict)
    """Standard deviation over the runs, where there are at least two."""
    params: dict[str, str]
    headlines: list[str]
    """The first metric of each task, in the order of the tasks."""
    tags: dict[str, str] = field(default_factory=dict)
    started: int = 0
    """Milliseconds since 1970."""
    runs: "list[Row]" = field(default_factory=list)
    """Where there are several: each of them."""
    is_baseline: bool = False
    gains: dict[str, Gain] = field(default_factory=dict)
    """Over the baseline: of each task, and of all of them together as `delta_m`."""

    @classmethod
    def of(cls, run: "Run") -> Self:
        """Read a run of MLflow."""
        params = {k: v for k, v in run.data.params.items() if not k.startswith(PLACES)}
        return cls(
            name=run.info.run_name or run.info.run_id,
            run_ids=[run.info.run_id],
            status=run.info.status.lower(),
            metrics=dict(run.data.metrics),
            params=params,
            headlines=json.loads(run.data.tags.get(HEADLINES, "[]")),
            tags=dict(run.data.tags),
            started=run.info.start_time or 0,
        )

    @property
    def members(self) -> "list[Row]":
        """Each run of the row."""
        return self.runs or [self]

    @property
    def seed(self) -> str:
        """The seed of a single run."""
        return self.params.get(SEED, "")


def columns(rows: list[Row]) -> list[str]:
    """Return the metrics to show: each task's test metrics, its headline first, then the rest.

    Runs that were never tested are compared by their validation metrics.
    """
    logged = list(dict.fromkeys(key for row in rows for key in sorted(row.metrics)))
    finals = [key for key in logged if key.startswith("test/") and task_of(key)]
    finals = finals or [key for key in logged if key.startswith("val/") and task_of(key)]
    heads = list(dict.fromkeys(key for row in rows for key in row.headlines))
    tasks = list(dict.fromkeys(task_of(key) for key in [*heads, *finals]))
    finals.sort(key=lambda k: (tasks.index(task_of(k)), k not in heads, k.endswith("/loss")))
    return finals + [key for key in OTHERS if key in logged]


def heads(rows: list[Row]) -> dict[str, str]:
    """Return the metric that stands for each task of the rows, in the order of the tasks."""
    first: dict[str, str] = {}
    for key in columns(rows):
        if task := task_of(key):
            first.setdefault(task, key)
    return first


def task_of(key: str) -> str:
    """Return the task of a metric `SPLIT/TASK/METRIC`; "" for a metric of all tasks."""
    return key.partition("/")[2].rpartition("/")[0]


def sign(key: str) -> int:
    """Return 1 where a higher value of the metric is better, else -1."""
    return -1 if key.rpartition("/")[2] in {*LOWER_IS_BETTER, "process_hours"} else 1


def best(rows: list[Row], key: str) -> float | None:
    """Return the best value of a metric; None where there is nothing to choose from."""
    values = [sign(key) * row.metrics[key] for row in rows if key in row.metrics]
    return sign(key) * max(values) if len(set(values)) > 1 else None


def best_first(rows: list[Row]) -> list[Row]:
    """Sort by the gain over the baseline where there is one, else by the mean gain over guessing.

    That mean is of all tasks of a run, so rows of different tasks keep their order.
    """
    gained = any(row.gains for row in rows)
    tasks = {frozenset(map(task_of, row.headlines)) for row in rows if MEAN_GAIN in row.metrics}
    if not gained and len(tasks) > 1:
        return rows
    key = GAIN if gained else MEAN_GAIN
    return sorted(rows, key=lambda row: (key not in row.metrics, -row.metrics.get(key, 0.0)))


def differing(rows: list[Row]) -> dict[str, list[str]]:
    """Return the parameters in which the rows differ, types first, with the value of each row."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    table = {name: [row.params.get(name, "") for row in rows] for name in names}
    order = sorted(table, key=lambda name: (not name.endswith(".type"), name))
    return {name: table[name] for name in order if len(set(table[name])) > 1}
