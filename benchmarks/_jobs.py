"""Trainings that go on until enough steps are seen: the product's own, and the plain PyG recipe.

Both write a line `{"step", "time"}` a step, and both are timed by it from the outside.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from _graphs import PRODUCTS, TINY
from _processes import TIMEOUT_SECONDS, JobError, Ranks

ROOT = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What both trainings do in a step."""

    graph: Path
    num_neighbors: tuple[int, ...] = (15, 10, 5)
    batch_size: int = 1024
    dim: int = 256


def products(*, quick: bool) -> Shape:
    """Return the step of the speed benchmarks."""
    if quick:
        return Shape(graph=TINY.folder(), num_neighbors=(5, 5), batch_size=32, dim=32)
    return Shape(graph=PRODUCTS.folder())


class Job(Protocol):
    """A training that can be started."""

    @property
    def alone(self) -> bool:
        """Whether a single process is started without a word of ranks."""

    def command(self, folder: Path) -> list[str]:
        """Return program and arguments; what they need is written into the folder."""

    def metrics(self, folder: Path) -> Path:
        """Return the file of the steps."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """`job/train.py` on a configuration of SAGE with a shared bottom.

    Attributes:
        precision: `train.precision`.
        num_tasks: node classifications on the labels `y0`, `y1`, ...
        microbatches: of a step, shared by its ranks.
    """

    shape: Shape
    precision: str = "fp32"
    num_tasks: int = 1
    microbatches: int = 1
    alone: bool = True

    def command(self, folder: Path) -> list[str]:
        """Write the configuration and return the command."""
        path = folder / "config.yaml"
        path.write_text(json.dumps(self.config(folder)))  # JSON is YAML
        return [str(ROOT / "job" / "train.py"), str(path)]

    def metrics(self, folder: Path) -> Path:
        """Return the run's own record."""
        return folder / "run" / "metrics.jsonl"

    def config(self, folder: Path) -> dict[str, Any]:
        """Return the configuration: it trains until it is stopped."""
        shape, for_ever = self.shape, 1_000_000
        tasks = {
            f"t{i}": {"type": "node_classification", "label": f"y{i}"}
            for i in range(self.num_tasks)
        }
        return {
            "run": {"name": "benchmark", "dir": str(folder / "run")},
            "graph": {"type": "folder", "path": str(shape.graph)},
            "tasks": tasks,
            "loader": {
                "num_neighbors": list(shape.num_neighbors),
                "batch_size": shape.batch_size,
                "global_batch_size": shape.batch_size * self.microbatches,
            },
            "model": {
                "dim": shape.dim,
                "encoder": {"type": "sage", "num_layers": len(shape.num_neighbors), "dropout": 0.0},
                "sharing": {"type": "hard"},
            },
            "optim": {"algorithm": "adam"},
            "train": {"epochs": for_ever, "precision": self.precision},
            "evaluate": {"every_epochs": for_ever},
            "checkpoint": {"every_epochs": for_ever},
            "track": {"mlflow": None, "every_steps": 1},
        }


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The recipe of PyG's multi-GPU example; see _plain_pyg.py.

    Attributes:
        num_workers: of its NeighborLoader.
        num_tasks: heads, each with a NeighborLoader and a pass of its own; None is the recipe as
            it stands, whose last convolution gives the classes.
    """

    shape: Shape
    num_workers: int = 0
    num_tasks: int | None = None
    alone: bool = False

    def command(self, folder: Path) -> list[str]:
        """Return the command."""
        shape = self.shape
        options = {
            "graph": [shape.graph],
            "metrics": [self.metrics(folder)],
            "num-neighbors": shape.num_neighbors,
            "batch-size": [shape.batch_size],
            "dim": [shape.dim],
            "num-workers": [self.num_workers],
            "num-tasks": [] if self.num_tasks is None else [self.num_tasks],
        }
        words = [[f"--{name}", *map(str, values)] for name, values in options.items() if values]
        return [str(ROOT / "benchmarks" / "_plain_pyg.py"), *(w for part in words for w in part)]

    def metrics(self, folder: Path) -> Path:
        """Return the file that it is told to write."""
        return folder / "metrics.jsonl"


def step_times(
    job: Job,
    num_steps: int,
    *,
    num_ranks: int = 1,
    cores: Sequence[int] | None = None,
    prefix: Sequence[str] = (),
    watch: Callable[[Ranks], object] | None = None,
) -> list[float]:
    """Train until so many steps are done, then ask it to stop; return when each was done.

    Args:
        job: what to start.
        num_steps: times wanted; step i of the result is step i + 1 of the training.
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
            while len(times := _times(path)) < num_steps:
                if not ranks.alive() or time.monotonic() > deadline:
                    raise JobError(f"ended, or took too long, after {len(times)} steps")
                if watch and times:
                    watch(ranks)
                time.sleep(POLL_SECONDS)
            if watch:
                watch(ranks)
            ranks.stop()
    return times[:num_steps]


def seeds_per_second(job: Job, seeds_per_step: int, warm_up: int, num_steps: int) -> float:
    """Train, and return the seeds a second of `num_steps` steps after those of the warm-up."""
    return rate(step_times(job, warm_up + num_steps), seeds_per_step, warm_up)


def rate(times: Sequence[float], seeds_per_step: int, warm_up: int) -> float:
    """Return the seeds a second after the warm-up; its last step starts the clock."""
    assert 0 < warm_up < len(times)
    return seeds_per_step * (len(times) - warm_up) / (times[-1] - times[warm_up - 1])


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a temporary folder, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="graphmtl-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _times(path: Path) -> list[float]:
    """Read when each step was done; a last line may be half written."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    done: dict[int, float] = {}
    for record in records:
        done.setdefault(record["step"], record["time"])
    return [done[step] for step in sorted(done)]
