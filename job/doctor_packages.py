"""doctor: whether the packages that are installed are those that this program asks for."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from job.doctor_findings import Finding, problem
from job.doctor_job import Job
from mtl.errors import ConfigError

NAMES = ("torch", "torch_geometric", "numba", "mlflow", "torchjd", "accelerate")
"""Those whose versions are shown."""


def packages(job: Job) -> Iterator[Finding]:
    """Compare with what pyproject.toml says."""
    wanted = [Requirement(line) for line in metadata.requires("graphmtl") or []]
    needed = [requirement for requirement in wanted if requirement.marker is None]
    faults = [finding for requirement in needed for finding in _faults(requirement)]
    yield from faults
    if not faults:
        shown = ", ".join(f"{name} {metadata.version(name)}" for name in NAMES)
        yield Finding(f"all {len(needed)} are new enough: {shown}")


def _faults(wanted: Requirement) -> Iterator[Finding]:
    advice = f"pip install '{wanted.name}{wanted.specifier}'"
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        yield problem(f"{wanted.name} is not installed", advice, ConfigError)
        return
    if not wanted.specifier.contains(found, prereleases=True):
        words = f"{wanted.name} is {found}; allowed: {wanted.specifier}"
        yield problem(words, advice, ConfigError)


PACKAGES = (packages,)
