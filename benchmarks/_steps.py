"""Steps of a training, timed from the outside: each writes a line `{"step", "time", ...}`."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _jobs import Job
from _processes import TIMEOUT_SECONDS, JobError, Ranks, scratch

Record = dict[str, Any]
POLL_SECONDS, WATCH_SECONDS = 0.5, 0.2
"""Between two looks at a job: looking costs time that the job could use."""


def record_steps(
    job: Job,
    num_steps: int,
    *,
    num_ranks: int = 1,
    cores: Sequence[int] | None = None,
    prefix: Sequence[str] = (),
    watch: Callable[[Ranks], object] | None = None,
) -> list[Record]:
    """Train until so many steps are done, then ask it to stop; return the line of each.

    Args:
        job: what to start.
        num_steps: lines wanted.
        num_ranks: processes.
        cores: the core of each rank; default: all for all.
        prefix: put before the command.
        watch: called now and then while steps are done, and at the end.

    Raises:
        JobError: a process failed.
    """
    with scratch() as folder:
        command, path = job.command(folder), job.metrics(folder)
        with Ranks(command, folder, num_ranks, cores, prefix, alone=job.alone) as ranks:
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while len(records := read_steps(path)) < num_steps:
                if not ranks.alive() or time.monotonic() > deadline:
                    raise JobError(f"ended, or took too long, after {len(records)} steps")
                if watch and records:
                    watch(ranks)
                time.sleep(WATCH_SECONDS if watch else POLL_SECONDS)
            if watch:
                watch(ranks)
            ranks.stop()
    return records[:num_steps]


def seeds_per_second(job: Job, seeds_per_step: int, warm_up: int, num_steps: int) -> float:
    """Train, and return the seeds a second of `num_steps` steps after those of the warm-up."""
    return rate(record_steps(job, warm_up + num_steps), seeds_per_step, warm_up)


def rate(records: Sequence[Record], seeds_per_step: int, warm_up: int) -> float:
    """Return the seeds a second after the warm-up; its last step starts the clock."""
    assert 0 < warm_up < len(records)
    seconds: float = records[-1]["time"] - records[warm_up - 1]["time"]
    return seeds_per_step * (len(records) - warm_up) / seconds


def read_steps(path: Path) -> list[Record]:
    """Read the line of each step that is done; a last line may be half written."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    done: dict[int, Record] = {}
    for line in lines:
        if line.endswith("\n"):
            record = json.loads(line)
            done.setdefault(record["step"], record)
    return [done[step] for step in sorted(done)]
