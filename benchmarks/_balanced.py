"""Trainings to be timed: ours under a balancing, and TorchJD without our engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _jobs import Ours, Shape
from _machine import has_bf16
from _processes import ROOT
from _turns import WIRE


@dataclass(frozen=True, kw_only=True)
class Balanced(Ours):
    """Ours, under a balancing; also says what it sends.

    Attributes:
        balancing: the section.
    """

    precision: str = "auto"
    balancing: Mapping[str, Any] = field(default_factory=dict)

    def command(self, folder: Path) -> list[str]:
        """Return the command that counts."""
        _, config = super().command(folder)
        return [str(ROOT / "benchmarks" / "_counted.py"), str(folder / WIRE), config]

    def config(self, folder: Path) -> dict[str, Any]:
        """Return the configuration."""
        return {**super().config(folder), "balancing": dict(self.balancing)}


@dataclass(frozen=True, kw_only=True)
class TorchJD:
    """TorchJD in one process, in the precision of ours; see _plain_torchjd.py."""

    shape: Shape
    num_tasks: int
    alone: bool = True

    def command(self, folder: Path) -> list[str]:
        """Return the command."""
        shape = self.shape
        options = [f"--graph={shape.graph}", f"--metrics={self.metrics(folder)}"]
        options += [f"--dim={shape.dim}", f"--batch-size={shape.batch_size}"]
        options += [f"--num-tasks={self.num_tasks}", *["--bf16"] * has_bf16()]
        hops = ["--num-neighbors", *map(str, shape.num_neighbors)]
        return [str(ROOT / "benchmarks" / "_plain_torchjd.py"), *options, *hops]

    def metrics(self, folder: Path) -> Path:
        """Return the file that it is told to write."""
        return folder / "metrics.jsonl"
