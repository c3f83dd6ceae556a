"""Trainings that take turns: all are started once; while one goes on, the others are stopped.

So a ratio is of steps that were made within seconds of each other, on a machine whose speed drifts.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from _jobs import Job
from _processes import TIMEOUT_SECONDS, JobError, Ranks, scratch
from _steps import POLL_SECONDS, read_steps

Name = TypeVar("Name", bound=Hashable)
WIRE = "wire.jsonl"
"""Where a job's folder says what it has sent: a line `{"time", "bytes"}` each time."""
WAKING = 2
"""Steps after a stop that do not count."""


@dataclass(frozen=True)
class Turn:
    """Steps of one job, one after the other.

    Attributes:
        seconds: a step.
        num_bytes: sent in a step beside DDP's gradients; 0 where the job does not say.
    """

    seconds: float
    num_bytes: float


def take_turns(
    jobs: Mapping[Name, Job],
    num_steps: Callable[[Name], int],
    num_rounds: int,
    cores: Sequence[int],
) -> dict[Name, list[Turn]]:
    """Start all jobs, then let each make its steps, round after round.

    Args:
        jobs: by name; all must fit into the memory together.
        num_steps: of a job that count in a turn; half as many come before the first.
        num_rounds: turns of each.
        cores: one for each rank of a job.
    """
    turns: dict[Name, list[Turn]] = {name: [] for name in jobs}
    with ExitStack() as stack:
        advance = {}
        for name, job in jobs.items():
            advance[name] = stack.enter_context(_stopped(job, cores))
            advance[name](num_steps(name) // 2)
        for _ in range(num_rounds):
            for name, turn in turns.items():
                turn.append(advance[name](num_steps(name)))
    return turns


def seconds(turns: Sequence[Turn]) -> float:
    """Return the seconds of a step, the median over the turns."""
    return median(turn.seconds for turn in turns)


def times(turns: Sequence[Turn], others: Sequence[Turn]) -> float:
    """Return how many times as long as the others': the median over the rounds."""
    return median(a.seconds / b.seconds for a, b in zip(turns, others, strict=True))


@contextmanager
def _stopped(job: Job, cores: Sequence[int]) -> Iterator[Callable[[int], Turn]]:
    """Start a job, and give the function that lets it make steps; ended on leaving."""
    with scratch() as folder:
        path = job.metrics(folder)
        with Ranks(job.command(folder), folder, len(cores), cores, (), alone=job.alone) as ranks:

            def advance(num_steps: int) -> Turn:
                first = len(read_steps(path)) + WAKING
                _signal(ranks, signal.SIGCONT)
                deadline = time.monotonic() + TIMEOUT_SECONDS
                while len(records := read_steps(path)) < first + num_steps:
                    if not ranks.alive() or time.monotonic() > deadline:
                        raise JobError(f"ended, or took too long, after {len(records)} steps")
                    time.sleep(POLL_SECONDS)
                _signal(ranks, signal.SIGSTOP)
                begin, end = records[first - 1]["time"], records[first + num_steps - 1]["time"]
                sent = _sent(folder / WIRE, begin, end)
                return Turn((end - begin) / num_steps, sent / num_steps)

            yield advance


def _signal(ranks: Ranks, number: signal.Signals) -> None:
    for process in ranks.processes:
        os.kill(process.pid, number)


def _sent(path: Path, begin: float, end: float) -> int:
    lines = path.read_text().splitlines() if path.exists() else []
    calls = map(json.loads, lines)
    return sum(call["bytes"] for call in calls if begin < call["time"] <= end)
