"""Which points of metrics.jsonl an MLflow run lacks, whatever was cut off, resumed or forgotten."""

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from job.mlflow_points import unsent


class Point(NamedTuple):
    """What counts of a point."""

    key: str
    step: int
    timestamp: int


class Job:
    """A job that is started again and again: its file, and what the store got of it."""

    def __init__(self) -> None:
        self.file: list[Any] = []
        self.store: list[Any] = []
        self.now = 0

    def run(self, back: int, num_steps: int, sent: int) -> None:
        """Go back some steps, log steps, and end when some of the points have been sent."""
        step = max(0, max((point.step for point in self.file), default=0) - back)
        self.file = [point for point in self.file if point.step <= step]
        latest = {point.key: point for point in sorted(self.store, key=lambda p: (p.step, p[2]))}
        for _ in range(num_steps):
            step, self.now = step + 1, self.now + 1
            self.file += [Point(key, step, self.now) for key in "ab"]
        floor = {key: point.step for key, point in latest.items()}
        new = unsent(lambda key: [latest[key]] if key in latest else [], floor)
        self.store += [point for point in self.file if new(point)][:sent]

    def catch_up(self) -> None:
        new = unsent(lambda key: [p for p in self.store if p.key == key], {})
        self.store += [point for point in self.file if new(point)]

    def counts(self) -> tuple[Counter[Any], Counter[Any]]:
        """Return how often the file and the store have each step of a metric, up to the file's."""
        last = max((point.step for point in self.file), default=-1)
        file, store = (
            Counter((p.key, p.step) for p in points) for points in (self.file, self.store)
        )
        return file, Counter({k: n for k, n in store.items() if k[1] <= last})


STARTS = st.lists(st.tuples(*[st.integers(0, 6)] * 2, st.integers(0, 20)), max_size=6)


@given(STARTS)
def test_a_resumed_job_sends_each_step_once_by_the_latest_points_alone(starts: Any) -> None:
    job = Job()
    for start in starts:
        job.run(*start)
    job.run(0, 0, 999)
    file, store = job.counts()
    assert file == store


@given(STARTS, st.data())
def test_catching_up_fills_every_hole_and_adds_nothing_else(starts: Any, data: Any) -> None:
    job = Job()
    for start in starts:
        job.run(*start)
        job.store = [point for point in job.store if data.draw(st.integers(0, 3))]
    job.catch_up()
    file, store = job.counts()
    assert file == store
    before = list(job.store)
    job.catch_up()
    assert job.store == before


def test_a_metric_that_is_logged_twice_in_a_step_is_sent_twice_even_apart() -> None:
    first, second = Point("a", 5, 1), Point("a", 5, 2)
    new = unsent(lambda key: [first], {"a": 5})
    assert [new(first), new(second)] == [False, True]
