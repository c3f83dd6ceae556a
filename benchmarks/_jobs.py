"""Trainings to be timed: the product's own, and the plain PyG recipe; both go on until stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from _graphs import PRODUCTS, TINY
from _processes import ROOT


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


def node_tasks(number: int) -> dict[str, dict[str, Any]]:
    """Return node classifications on the labels `y0`, `y1`, ..."""
    return {f"t{i}": {"type": "node_classification", "label": f"y{i}"} for i in range(number)}


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
        tasks: the `tasks:` section; default: one of the node tasks.
        rates: `loader.rates`.
        loader: other options of the `loader:` section.
        every_steps: between two lines of its record; to write one it waits for the device.
        microbatches: of a step, shared by its ranks.
    """

    shape: Shape
    precision: str = "fp32"
    tasks: Mapping[str, Any] = field(default_factory=lambda: node_tasks(1))
    rates: Mapping[str, float] = field(default_factory=dict)
    loader: Mapping[str, Any] = field(default_factory=dict)
    every_steps: int = 1
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
        return {
            "run": {"name": "benchmark", "dir": str(folder / "run")},
            "graph": {"type": "folder", "path": str(shape.graph)},
            "tasks": dict(self.tasks),
            "loader": {
                "num_neighbors": list(shape.num_neighbors),
                "batch_size": shape.batch_size,
                "global_batch_size": shape.batch_size * self.microbatches,
                "rates": dict(self.rates),
                **self.loader,
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
            "track": {"mlflow": None, "every_steps": self.every_steps},
        }


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The recipe of PyG's multi-GPU example; see _plain_pyg.py.

    Attributes:
        num_workers: of its NeighborLoader.
        num_tasks: heads, each with a NeighborLoader and a pass of its own; None is the recipe as
            it stands, whose last convolution gives the classes.
        device: that trains and holds the features; the CPU samples.
    """

    shape: Shape
    num_workers: int = 0
    num_tasks: int | None = None
    device: str = "cpu"
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
            "device": [self.device],
            "num-tasks": [] if self.num_tasks is None else [self.num_tasks],
        }
        words = [[f"--{name}", *map(str, values)] for name, values in options.items() if values]
        return [str(ROOT / "benchmarks" / "_plain_pyg.py"), *(w for part in words for w in part)]

    def metrics(self, folder: Path) -> Path:
        """Return the file that it is told to write."""
        return folder / "metrics.jsonl"
