"""compare: how metrics went over a training, read from MLflow."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from job.comparison import Row, sign
from job.mlflow_store import StoreError, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_POINTS = 200
NUM_THREADS = 8
Points = list[tuple[int, float]]
Histories = Mapping[tuple[str, str], Points]
"""Points of each run id and metric."""


class Curve(NamedTuple):
    """The mean over the seeds, and between which values they lie, at some steps."""

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def read(client: "MlflowClient", rows: Sequence[Row], keys: Iterable[str]) -> Histories:
    """Return the points of all runs that have logged these metrics.

    Raises:
        StoreError: The store does not answer.
    """
    wanted = [
        (run.run_ids[0], key)
        for key in dict.fromkeys(keys)
        for row in rows
        for run in row.members
        if key in run.metrics
    ]

    def points(place: tuple[str, str]) -> Points:
        try:
            found = client.get_metric_history(*place)
        except Exception as error:  # whatever a store answers
            raise StoreError(f"--uri: the store does not answer: {first_line(error)}") from error
        found = sorted(found, key=lambda point: (point.step, point.timestamp))
        # At the end, what the kept checkpoint reaches is logged once more at the last step.
        return [*{point.step: point.value for point in reversed(found)}.items()][::-1]

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return dict(zip(wanted, pool.map(points, wanted), strict=True))


def curve(histories: Histories, row: Row, key: str) -> Curve | None:
    """Return a metric's curve, thinned; None where no run of the row has logged it."""
    values: dict[int, list[float]] = {}
    for step, value in chain.from_iterable(of_each(histories, row, key)):
        values.setdefault(step, []).append(value)
    if not values:
        return None
    steps = thinned(sorted(values))
    many = [values[step] for step in steps]
    return Curve(steps, *([short(which(v)) for v in many] for which in (fmean, min, max)))


def short(value: float) -> float:
    """Return the value to six digits: more are not seen, and make the page larger."""
    return float(f"{value:.6g}")


def of_each(histories: Histories, row: Row, key: str) -> list[Points]:
    """Return a metric's points in each run of a row that has some."""
    found = (histories.get((run.run_ids[0], key)) for run in row.members)
    return [points for points in found if points]


def thinned(steps: Sequence[int]) -> list[int]:
    """Return at most 200 of the steps, evenly spread, the first and the last among them."""
    gap = max(1.0, (len(steps) - 1) / (MAX_POINTS - 1))
    return [steps[round(i * gap)] for i in range(min(len(steps), MAX_POINTS))]


def best_and_last(histories: Histories, row: Row, key: str) -> tuple[float, float] | None:
    """Return a metric's best and last value of a training, as means over the seeds."""
    found = [[value for _, value in points] for points in of_each(histories, row, key)]
    if not found:
        return None
    tops = [sign(key) * max(sign(key) * value for value in values) for values in found]
    return fmean(tops), fmean(values[-1] for values in found)


def overall(histories: Histories, row: Row, key: str) -> float | None:
    """Return the mean over all points of all runs of a row."""
    found = [*chain.from_iterable(of_each(histories, row, key))]
    return fmean(value for _, value in found) if found else None
