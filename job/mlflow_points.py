"""track: metrics.jsonl -> the points that an MLflow run has not got yet."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from job.mlflow_run import clean
from job.record import parse

if TYPE_CHECKING:
    from mlflow.entities import Metric

LINES = 100


def read_points(path: Path, offset: int) -> "Iterator[tuple[list[Metric], int]]":
    """Yield the points of some lines, and the offset in bytes at which they end.

    A line that is half written is left for the next time. Undefined values are no points.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while lines := [line for line in islice(file, LINES) if line.endswith(b"\n")]:
            offset += sum(map(len, lines))
            yield [point for line in lines for point in _points(line)], offset


def _points(line: bytes) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    record = parse(line) or {}
    step, seconds = record.pop("step", 0), record.pop("time", 0.0)
    for name, value in record.items():
        if value is not None:
            yield Metric(clean(name), value, round(seconds * 1000), step)


def unsent(
    history: "Callable[[str], Iterable[Metric]]", complete_below: Mapping[str, int]
) -> "Callable[[Metric], bool]":
    """Return the function that says of each point, in their order, whether the run lacks it.

    A resumed training logs steps again whose points the run has got, and MLflow can take none
    back: those stand for the new ones.

    Args:
        history: returns the points of a metric that the run has got, of the steps that count.
        complete_below: metric -> step below which the run has got everything.
    """
    got: dict[str, dict[int, list[int]]] = {}

    def is_unsent(point: "Metric") -> bool:
        if point.step < complete_below.get(point.key, 0):
            return False
        if point.key not in got:
            steps = got.setdefault(point.key, {})
            for old in history(point.key):
                steps.setdefault(old.step, []).append(old.timestamp)
        times = got[point.key].get(point.step, [])
        # One that is later is of a line that comes later; one that is earlier, of a line cut off.
        earlier = [time for time in times if time <= point.timestamp]
        if earlier:
            times.remove(point.timestamp if point.timestamp in times else earlier[0])
        return not earlier

    return is_unsent
