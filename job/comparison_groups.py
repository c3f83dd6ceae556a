"""compare: runs that differ in the seed alone are one row."""

import re
from collections import Counter
from statistics import fmean, stdev

from job.comparison import SEED, Row


def group(rows: list[Row]) -> list[Row]:
    """Put runs of one configuration and name together, whatever their seed.

    A name that ends in the seed, as `equal_0`, is the same without. Of several runs with one seed
    the newest that finished counts: a training that is repeated is not one more.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        config = {k: v for k, v in row.params.items() if k != SEED}
        groups.setdefault((stem(row.name, row.seed), *sorted(config.items())), []).append(row)
    return [_mean(str(key[0]), _newest(runs)) for key, runs in groups.items()]


def stem(name: str, seed: str) -> str:
    """Return a name without the seed at its end: `equal` for `equal_0`, `equal-seed=0`."""
    end = rf"[\W_]+(seed|s)?[\W_]*{re.escape(seed)}" if seed else ""
    return re.sub(f"(?<=.){end}$", "", name)


def _newest(runs: list[Row]) -> list[Row]:
    """Return one run for each seed: the newest that finished, else the newest."""
    order = sorted(runs, key=lambda run: (run.status == "finished", run.started))
    kept = {run.seed or run.run_ids[0]: run.run_ids for run in order}
    return [run for run in runs if kept[run.seed or run.run_ids[0]] == run.run_ids]


def _mean(name: str, runs: list[Row]) -> Row:
    if len(runs) == 1:
        return runs[0]
    values: dict[str, list[float]] = {}
    for run in runs:
        for key, value in run.metrics.items():
            values.setdefault(key, []).append(value)
    status = Counter(run.status for run in runs)
    seeds = sorted((run.seed or "?" for run in runs), key=lambda seed: (len(seed), seed))
    return Row(
        name=name,
        run_ids=[run_id for run in runs for run_id in run.run_ids],
        status=", ".join(f"{count} {name}" for name, count in status.items()),
        metrics={key: fmean(many) for key, many in values.items()},
        spread={key: stdev(many) for key, many in values.items() if len(many) > 1},
        params={**runs[0].params, SEED: ", ".join(seeds)},
        headlines=max((run.headlines for run in runs), key=len),
        tags=runs[0].tags,
        started=max(run.started for run in runs),
        runs=runs,
    )
