"""compare: how much better a run is than the baseline, and how sure that is."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from job.comparison import GAIN, Gain, Row, sign, task_of

MIN_PAIRS = 3


def add_gains(rows: Sequence[Row], baseline: Sequence[Row]) -> None:
    """Add to each row its relative gains over the baseline, and their mean over the tasks.

    `delta_m = 1/T sum_t s_t (M_t - B_t) / |B_t|` (Maninis et al., 2019), over the tasks that both
    have; `s_t` is -1 where lower is better, `B_t` the mean over the baseline's runs of the first
    test metric of the task. The baseline may be several rows, as one for each single task.

    The test is over pairs of one seed, relative to the same `B_t`; Holm's correction counts the
    rows, for each task and for the mean apart.
    """
    heads = dict.fromkeys(key for row in baseline for key in headlines(row))
    values = {key: by_seed(baseline, key) for key in heads}
    for row in baseline:
        row.is_baseline = True
    for row in rows:
        row.gains = {}
        for key, base in values.items():
            if (gain := gain_of(row, key, base)) is not None:
                row.gains[task_of(key)] = gain
        if row.gains:
            row.gains[GAIN] = mean(row.gains)
            row.metrics[GAIN] = row.gains[GAIN].value
            if len(row.gains[GAIN].by_seed) > 1:
                row.spread[GAIN] = stdev(row.gains[GAIN].by_seed.values())
    others = [row for row in rows if not row.is_baseline]
    for task in dict.fromkeys(task for row in others for task in row.gains):
        judge([row.gains[task] for row in others if task in row.gains])


def headlines(row: Row) -> list[str]:
    """Return the metric that stands for each task; a run that did not end has none on record."""
    keys = sorted(key for key in row.metrics if key.startswith("test/") and task_of(key))
    keys.sort(key=lambda key: key.endswith("/loss"))
    first = {task_of(key): key for key in reversed(keys)}
    return row.headlines or sorted(first.values())


def by_seed(rows: Sequence[Row], key: str) -> dict[str, list[float]]:
    """Return the values of a metric under the seeds of their runs."""
    values: dict[str, list[float]] = {}
    for run in (run for row in rows for run in row.members):
        if key in run.metrics:
            values.setdefault(run.seed, []).append(run.metrics[key])
    return values


def gain_of(row: Row, key: str, base: Mapping[str, list[float]]) -> Gain | None:
    """Return the gain in one metric; None where there is nothing to compare."""
    own = by_seed([row], key)
    if not own or not base:
        return None
    level = fmean(value for many in base.values() for value in many)
    if level == 0:
        return None
    unit = sign(key) / abs(level)
    pairs = {s: unit * (fmean(own[s]) - fmean(base[s])) for s in own if s in base}
    return Gain(value=unit * (row.metrics[key] - level), by_seed=pairs)


def mean(gains: Mapping[str, Gain]) -> Gain:
    """Return the mean over tasks, for each seed that all of them have."""
    first, *rest = gains.values()
    seeds = [seed for seed in first.by_seed if all(seed in gain.by_seed for gain in rest)]
    pairs = {seed: fmean(gain.by_seed[seed] for gain in gains.values()) for seed in seeds}
    return Gain(value=fmean(gain.value for gain in gains.values()), by_seed=pairs)


def judge(gains: Sequence[Gain]) -> None:
    """Test each gain against none at all, then correct for how many there are."""
    for gain in gains:
        gain.p = paired_p([*gain.by_seed.values()])
    judged = sorted((gain for gain in gains if gain.p is not None), key=lambda gain: gain.p or 0)
    lowest = 0.0
    for rank, gain in enumerate(judged):
        lowest = max(lowest, min(1.0, (gain.p or 0) * (len(judged) - rank)))
        gain.p_holm = lowest


def paired_p(differences: Sequence[float]) -> float | None:
    """Return p of a paired t-test, two-sided; None for too few pairs, or all of them the same."""
    largest = max(map(abs, differences), default=0.0)
    if len(differences) < MIN_PAIRS or stdev(differences) <= 1e-9 * largest:
        return None
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(differences, 0.0).pvalue)
