"""Many small trainings: a process a core, each of which trains one after the other.

Started as a script it is such a process: what it trains is in a file of its own.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from _machine import separate_cores
from _processes import POLL_SECONDS, Ranks

Summary = dict[str, Any]


def train_all(commands: Mapping[str, Sequence[str]], runs: Path) -> dict[str, Summary]:
    """Train what has not been trained there yet; return the summary of each run.

    Args:
        commands: run -> arguments of job/train.py but its run directory.
        runs: folder of the run directories. What is finished is not trained again, and what was
            stopped goes on, as `job/train.py` does it.

    Raises:
        JobError: a training failed.
    """
    cores = separate_cores(2) or separate_cores(1) or [0]
    full = [[*command, f"run.dir={runs / name}"] for name, command in commands.items()]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_start(full[i :: len(cores)], runs / f"process{i}", core))
            for i, core in enumerate(cores)
        ]
        told = 0
        while sum(process.alive() for process in processes):
            done = sum((runs / name / "summary.json").exists() for name in commands)
            if done >= told + 10:
                print(f"{done} of {len(full)} trainings", file=sys.stderr, flush=True)
                told = done
            time.sleep(POLL_SECONDS)
    return {name: json.loads((runs / name / "summary.json").read_text()) for name in commands}


def step_seconds(
    commands: Mapping[str, Sequence[str]], folder: Path, rounds: int
) -> dict[str, float]:
    """Train on one core, in turn; return the median time of a step of each.

    The first of two rounds of the same lasts as long as the second: all of it is compiled before,
    and a median does not see the few steps in which something else had the core.
    """
    names = {name: [f"{name}-{i}" for i in range(rounds)] for name in commands}
    full = [
        [*command, "track.every_steps=1", f"run.dir={folder / names[name][i]}"]
        for i in range(rounds)
        for name, command in commands.items()
    ]
    core = (separate_cores(1) or [0])[0]
    with _start(full, folder / "process", core) as process:
        while process.alive():
            time.sleep(POLL_SECONDS)
    return {name: median(_medians(folder, names[name])) for name in commands}


def _medians(folder: Path, names: Sequence[str]) -> list[float]:
    return [median(_steps(folder / name / "metrics.jsonl")) for name in names]


def _steps(path: Path) -> list[float]:
    """Return the seconds of each step: between the first lines of two that follow each other."""
    times: dict[int, float] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        times.setdefault(record["step"], record["time"])
    return [times[b] - times[a] for a, b in pairwise(sorted(times)) if b == a + 1]


def _start(commands: Sequence[Sequence[str]], folder: Path, core: int) -> Ranks:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.json").write_text(json.dumps(commands))
    return Ranks([str(Path(__file__).resolve()), "commands.json"], folder, cores=[core])


def main(path: Path) -> None:
    """Do what job/train.py would do with each of these arguments."""
    from job.train import main as train

    for arguments in json.loads(path.read_text()):
        train(arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
