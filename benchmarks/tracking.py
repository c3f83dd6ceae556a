"""What a tracking server costs a step, when it works and when it does not: p99 against none at all.

One process that trains four tasks on a small graph and records their losses as often as by default.
Each store has a training of its own, one after the other, round after round.

usage: python benchmarks/tracking.py [--quick] [--json FILE]
"""

import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from _graphs import TINY
from _jobs import Ours, Shape, node_tasks
from _processes import ROOT, Ranks, scratch
from _report import Report, run
from _steps import POLL_SECONDS, read_steps

NONE = "none"
AGAIN = "none, again"
"""What chance alone makes of two trainings."""
STORES = (NONE, AGAIN, "sqlite", "server", "slow server, 2 s", "frozen server", "no server")
ROUNDS, NUM_STEPS, WARM_UP = 7, 500, 50
BAR = 1.05
START_BAR = 12.0
"""Seconds: a first try takes 10 at most."""


@dataclass(frozen=True, kw_only=True)
class Tracked(Ours):
    """A training that tells a store, and a file of its own when each step was done."""

    uri: str | None = None

    def config(self, folder: Path) -> dict[str, Any]:
        """Return the configuration."""
        return super().config(folder) | {"track": {"mlflow": self.uri and {"uri": self.uri}}}

    def command(self, folder: Path) -> list[str]:
        """Return the command of the training that is timed."""
        return [str(ROOT / "benchmarks" / "_timed_job.py"), *super().command(folder)[1:]]

    def metrics(self, folder: Path) -> Path:
        """Return the file of the steps."""
        return folder / "steps.jsonl"


@dataclass(frozen=True)
class Run:
    """One training: when its first step was done, what steps took, how long its end took."""

    start: float
    steps: list[float]
    end: float

    @property
    def p99(self) -> float:
        """Return the time that one step in a hundred takes longer than."""
        return quantiles(self.steps, n=100)[-1]


def measure(args: Namespace) -> Report:
    report = Report()
    rounds, num_steps = (1, 200) if args.quick else (ROUNDS, NUM_STEPS)
    shape = Shape(graph=TINY.folder(), num_neighbors=(10, 10), batch_size=512, dim=256)
    found: dict[str, list[Run]] = {name: [] for name in STORES}
    with scratch() as folder:
        for _ in range(rounds):
            for name in STORES:
                with _store(name, folder) as uri:
                    found[name].append(
                        _train(Tracked(shape=shape, tasks=node_tasks(4), uri=uri), num_steps)
                    )
    for name, runs in found.items():
        pairs = list(zip(runs, found[NONE], strict=True))
        times = median(run.p99 / none.p99 for run, none in pairs)
        later = median(run.start - none.start for run, none in pairs)
        report.rows.append(
            {
                "store": name,
                "ms/step": 1e3 * median(median(run.steps) for run in runs),
                "p99 ms": 1e3 * median(run.p99 for run in runs),
                "x none": times,
                "first step after s": median(run.start for run in runs),
                "stops in s": median(run.end for run in runs),
            }
        )
        if name not in (NONE, AGAIN):
            report.at_most(f"{name}: p99 of a step, x none", times, BAR)
            report.at_most(f"{name}: seconds that the first step comes later", later, START_BAR)
    report.notes.append("a training that is stopped sends for 5 s at most, one that is done for 20")
    report.notes.append(f"medians of {rounds} rounds of {num_steps} steps, after {WARM_UP}")
    return report


def _train(job: Tracked, num_steps: int) -> Run:
    with scratch() as folder:
        command, path = job.command(folder), job.metrics(folder)
        began = time.time()
        with Ranks(command, folder) as ranks:
            while ranks.alive() and len(read_steps(path)) < WARM_UP + num_steps:
                time.sleep(4 * POLL_SECONDS)
            stopped = time.time()
            ranks.stop()
        times = [record["time"] for record in read_steps(path)]
        steps = [b - a for a, b in pairwise(times[WARM_UP : WARM_UP + num_steps])]
        return Run(times[0] - began, steps, time.time() - stopped)


@contextmanager
def _store(name: str, folder: Path) -> Iterator[str | None]:
    """Give the address of a store that is as its name says."""
    if name in (NONE, AGAIN):
        yield None
    elif name == "sqlite":
        yield f"sqlite:///{folder / 'mlflow.db'}"
    elif name == "no server":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
    else:
        script = str(ROOT / "tests" / "chaos" / "faulty_mlflow.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        server = subprocess.Popen([sys.executable, script, str(folder)], **pipes)
        with server:
            port = int(server.stdout.readline())
            server.stdin.write("slow\n" if name.startswith("slow") else "none\n")
            server.stdin.flush()
            if name.startswith("frozen"):
                server.stdout.readline()
                os.kill(server.pid, signal.SIGSTOP)
            yield f"http://127.0.0.1:{port}"
            os.kill(server.pid, signal.SIGCONT)


if __name__ == "__main__":
    run(measure, __doc__)
