"""launch: where the pods of a run may lie, and what is mounted into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator

from mtl.plugin import Options

TAKEN = ("/app", "/config", "/dev", "/etc", "/opt", "/proc", "/sys", "/tmp", "/usr", "/workspace")
TAKEN_NAMES = ("config", "workspace", "tmp", "shm")


def matches(pattern: str, allowed: str) -> AfterValidator:
    """Return a validator of strings that says what is allowed instead of the pattern."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {allowed}, found {value!r}")
        return value

    return AfterValidator(check)


Label = Annotated[
    str,
    matches(
        r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        "at most 63 lower-case letters, digits and '-', no '-' first or last",
    ),
]
LabelValue = Annotated[
    str,
    matches(
        r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?",
        "at most 63 letters, digits, '-', '_' and '.', a letter or digit first and last",
    ),
]
LabelKey = Annotated[
    str,
    matches(
        r"([a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?",
        "a key like nvidia.com/gpu.product",
    ),
]
Folder = Annotated[
    str, matches(r"(/[\w.+@-]*[\w+@-][\w.+@-]*)+", "an absolute path like /data, without a / last")
]


@dataclass(frozen=True, kw_only=True)
class Toleration(Options):
    """A taint of machines that the pods put up with."""

    key: LabelKey
    """Key of the taint."""
    value: LabelValue | None = None
    """Its value; null tolerates any."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Its effect; null tolerates all."""


@dataclass(frozen=True, kw_only=True)
class Volume(Options):
    """A volume that is mounted into every pod: a claim, or a folder of the machine."""

    path: Folder
    """Where the pods see it."""
    claim: Label | None = None
    """PersistentVolumeClaim in the namespace of the run."""
    host_path: Folder | None = None
    """Folder that is there on every machine and that user 10001 may write, for a `cache` that stays
    between runs. Pod Security levels restricted and baseline refuse it; see docs/kubernetes.md."""
    read_only: bool = False
    """Mount it read-only, as data that many runs share should be."""

    def __post_init__(self) -> None:
        if (self.claim is None) == (self.host_path is None):
            raise ValueError("expected one of claim and host_path")


def mistakes_of(volumes: Mapping[str, Volume]) -> list[str]:
    """Say which volumes hide something of the pod, or each other."""
    mistakes, seen = [], dict.fromkeys(TAKEN, "the pod itself")
    for name, volume in volumes.items():
        if name in TAKEN_NAMES:
            mistakes.append(f"volumes.{name}: the pod has a volume of this name")
        for path, owner in seen.items():
            if _overlap(volume.path, path):
                mistakes.append(f"volumes.{name}.path: {volume.path} is in {path}, of {owner}")
        seen[volume.path] = f"volumes.{name}"
    return mistakes


def is_writable(path: str, volumes: Mapping[str, Volume]) -> bool:
    """Tell whether pods can write somewhere: on the scratch disk, the claim or a volume."""
    places = ["/tmp", "/workspace", *(v.path for v in volumes.values() if not v.read_only)]
    return any(PurePosixPath(path).is_relative_to(place) for place in places)


def _overlap(one: str, other: str) -> bool:
    a, b = PurePosixPath(one), PurePosixPath(other)
    return a.is_relative_to(b) or b.is_relative_to(a)
