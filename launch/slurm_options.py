"""launch: `cluster.slurm`, what a Slurm cluster must be told beside the machines."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator

from launch.k8s_places import matches
from mtl.plugin import Options

Word = Annotated[str, matches(r"[\w.,@+-]+", "a name without spaces")]
Time = Annotated[
    str,
    BeforeValidator(lambda time: str(time) if isinstance(time, int) else time),
    matches(r"(\d+-)?\d+(:\d\d){0,2}", "a time like 90 (minutes), 12:00:00 or 1-00:00:00"),
]
Option = Annotated[str, matches(r"--[a-z][^\n]*", "an option of sbatch like --constraint=a100")]
Line = Annotated[str, matches(r"[^\n]+", "one line of shell")]


@dataclass(frozen=True, kw_only=True)
class Slurm(Options):
    """Where a run goes in a Slurm cluster, read by launch/slurm.py alone."""

    partition: Word | None = None
    """Partition; null takes the cluster's default one."""
    account: Word | None = None
    """Account that the time is charged to."""
    time: Time | None = None
    """Longest time of one start: two minutes before it ends, the run saves and is queued again.
    null takes the partition's."""
    options: tuple[Option, ...] = ()
    """More options of sbatch, such as --constraint=a100."""
    setup: tuple[Line, ...] = ()
    """Lines of shell before the start, such as `module load cuda` or `. .venv/bin/activate`."""
