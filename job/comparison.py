"""track: what runs have in common and where they differ, as plain rows."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Self

from job.mlflow_end import HEADLINES

if TYPE_CHECKING:
    from mlflow.entities import Run

GAIN = "delta_m"
LOWER_IS_BETTER = {"loss", "mae", "rmse", "mse"}
OTHERS = [GAIN, "test/mean_gain", "val/mean_gain", "throughput/seeds_per_second"]
NEVER_THE_SAME = {"run.name", "run.dir"}
SEED = "run.seed"


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

    @classmethod
    def of(cls, run: "Run") -> Self:
        """Read a run of MLflow."""
        return cls(
            name=run.info.run_name,
            run_ids=[run.info.run_id],
            status=run.info.status.lower(),
            metrics=dict(run.data.metrics),
            params=dict(run.data.params),
            headlines=json.loads(run.data.tags.get(HEADLINES, "[]")),
        )


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


def task_of(key: str) -> str:
    """Return the task of a metric `SPLIT/TASK/METRIC`; "" for a metric of all tasks."""
    return key.partition("/")[2].rpartition("/")[0]


def sign(key: str) -> int:
    """Return 1 where a higher value of the metric is better, else -1."""
    return -1 if key.rpartition("/")[2] in LOWER_IS_BETTER else 1


def best(rows: list[Row], key: str) -> float | None:
    """Return the best value of a metric; None where there is nothing to choose from."""
    values = [sign(key) * row.metrics[key] for row in rows if key in row.metrics]
    return sign(key) * max(values) if len(set(values)) > 1 else None


def add_gain(rows: Iterable[Row], baseline: list[Row]) -> None:
    """Add to each row its mean relative gain over tasks against the baseline.

    `delta_m = 1/T sum_t s_t (M_t - B_t) / |B_t|` (Maninis et al., 2019), over the tasks that both
    have; `s_t` is -1 where lower is better, `B_t` the mean over the baseline's runs.
    """
    heads = dict.fromkeys(key for row in baseline for key in headlines(row))
    reference = {
        key: fmean(row.metrics[key] for row in baseline if key in row.metrics) for key in heads
    }
    for row in rows:
        gains = [
            sign(key) * (row.metrics[key] - value) / abs(value)
            for key, value in reference.items()
            if key in row.metrics and value != 0
        ]
        if gains:
            row.metrics[GAIN] = fmean(gains)


def headlines(row: Row) -> list[str]:
    """Return the metric that stands for each task; a run that did not end has none on record."""
    keys = sorted(key for key in row.metrics if key.startswith("test/") and task_of(key))
    keys.sort(key=lambda key: key.endswith("/loss"))
    first = {task_of(key): key for key in reversed(keys)}
    return row.headlines or sorted(first.values())


def group(rows: list[Row]) -> list[Row]:
    """Put runs of one name and configuration together, whatever their seed."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        config = {k: v for k, v in row.params.items() if k not in {SEED, *NEVER_THE_SAME}}
        groups.setdefault((row.name, *sorted(config.items())), []).append(row)
    return [_mean(runs) if len(runs) > 1 else runs[0] for runs in groups.values()]


def _mean(rows: list[Row]) -> Row:
    values: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.metrics.items():
            values.setdefault(key, []).append(value)
    status = Counter(row.status for row in rows)
    seeds = ", ".join(sorted(row.params.get(SEED, "?") for row in rows))
    return Row(
        name=f"{rows[0].name} x{len(rows)}",
        run_ids=[run_id for row in rows for run_id in row.run_ids],
        status=", ".join(f"{count} {name}" for name, count in status.items()),
        metrics={key: fmean(many) for key, many in values.items()},
        spread={key: stdev(many) for key, many in values.items() if len(many) > 1},
        params={**rows[0].params, SEED: seeds},
        headlines=rows[0].headlines,
    )


def differing(rows: list[Row]) -> dict[str, list[str]]:
    """Return the parameters in which the rows differ, with the value of each row."""
    names = dict.fromkeys(name for row in rows for name in row.params)
    table = {name: [row.params.get(name, "") for row in rows] for name in names}
    return {
        name: values
        for name, values in sorted(table.items())
        if len(set(values)) > 1 and name not in NEVER_THE_SAME
    }
