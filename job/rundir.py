"""The run directory holds the whole truth: which configuration it is of, and what made it."""

import subprocess
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from job.config import JobConfig, read, tree_of
from job.record import read_json, replace_file, unfit
from job.results import show
from job.runtime import Runtime
from job.yaml12 import parse, render
from mtl.errors import ConfigError
from mtl.graphs.schema import MANIFEST

CONFIG, SUMMARY = "config.yaml", "summary.json"
CHECKOUT = Path(__file__).resolve().parents[1]
MAY_CHANGE = (
    "run.dir",
    "graph.cache",
    "graph.features",
    "graph.root",
    "graph.file",
    "graph.path",
    "graph.verify",
    "loader.edges",
    "loader.features",
    "loader.num_threads",
    "loader.prefetch",
    "loader.prefetch_bytes",
    "train.epochs",
    "train.profile",
    "train.timeout_seconds",
    "evaluate.patience",
    "evaluate.confidence",
    "evaluate.resamples",
    "evaluate.scratch",
    "checkpoint",
    "track",
    "cluster",
)
"""What may differ when a run goes on: places, speed, and how long."""


def resolve(config: JobConfig, world_size: int) -> JobConfig:
    """Fill in what depends on the number of processes at the first start.

    A run that has a `global_batch_size` and a sampler keeps them, so that it may go on with other
    processes, on other machines.
    """
    old = _read(config.run.dir).get("loader", {}) if is_started(config) else {}
    return _kept(config, old, config.loader.batch_size * world_size)


def is_started(config: JobConfig) -> bool:
    """Return whether a run has something to go on from."""
    return any(config.run.dir.glob("checkpoints/step_*"))


def as_recorded(config: JobConfig) -> JobConfig:
    """Fill in what depended on the number of processes at the first start, of a run that is there.

    Raises:
        ConfigError: nothing was trained in the directory, or with another configuration.
    """
    old = _read(config.run.dir)
    if not old:
        raise ConfigError(f"run.dir: {config.run.dir} has no {CONFIG}: nothing was trained there")
    config = _kept(config, old.get("loader", {}))
    if different := changes(config, [path for path in MAY_CHANGE if path != "train.epochs"]):
        raise ConfigError(
            f"run.dir: {config.run.dir} holds a run of another configuration; "
            f"{config.run.dir / CONFIG} is its own:\n" + "\n".join(different)
        )
    return config


def write_config(config: JobConfig, *, resumes: bool) -> None:
    """Write config.yaml; running that file again repeats the run.

    Raises:
        ConfigError: the directory has checkpoints of another configuration.
    """
    tree = tree_of(config)
    if resumes and (different := changes(config, MAY_CHANGE)):
        raise ConfigError(
            f"run.dir: {config.run.dir} holds a run of another configuration; give this one "
            "a directory of its own (run.dir=... or run.name=...), or delete that one:\n"
            + "\n".join(different)
        )
    replace_file(config.run.dir / CONFIG, render(tree))


def keep_schema(run_dir: Path, graph: Path) -> None:
    """Keep what the graph is like: types, widths, names of classes; predictions elsewhere ask."""
    replace_file(run_dir / MANIFEST, (graph / MANIFEST).read_text(encoding="utf-8"))


def is_finished(run_dir: Path) -> bool:
    """Return whether a run has got its results."""
    path = run_dir / SUMMARY
    return path.exists() and read_json(path, "status")["status"] == "finished"


def say_finished(run_dir: Path) -> None:
    """Show the results of a run that has nothing left to do."""
    print(
        f"{run_dir} is finished. Raise train.epochs (or evaluate.patience, if that ended it) to go "
        f"on; give run.name=... for another run."
    )
    with unfit(run_dir):
        show(read_json(run_dir / SUMMARY), "test")


def tags(runtime: Runtime) -> dict[str, str]:
    """Return what the run was made by: the commit of this code, device, precision."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, timeout=10, check=False
        )
        commit = done.stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        commit = "unknown"
    return {"git_commit": commit, "device": str(runtime.device), "precision": runtime.precision}


def changes(config: JobConfig, allowed: Collection[str]) -> list[str]:
    """Say what differs from config.yaml, a line each, but for what may."""
    return [
        f"  {path}: {old!r} there, {new!r} here"
        for path, old, new in differences(_completed(_read(config.run.dir)), tree_of(config))
        if not any(path == may or path.startswith(f"{may}.") for may in allowed)
    ]


def _read(run_dir: Path) -> dict[str, Any]:
    path = run_dir / CONFIG
    if not path.exists():
        return {}
    tree = parse(path.read_text(encoding="utf-8"), str(path))
    return tree if isinstance(tree, dict) else {}


def _kept(config: JobConfig, old: dict[str, Any], size: int | None = None) -> JobConfig:
    """Fill in what an old `loader:` section decided, where this one leaves it open."""
    loader = config.loader
    size = loader.global_batch_size or old.get("global_batch_size") or size
    backend = old.get("backend", "auto") if loader.backend == "auto" else loader.backend
    return replace(config, loader=replace(loader, global_batch_size=size, backend=backend))


def _completed(old: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the defaults of options that its program did not have yet."""
    try:
        return tree_of(read(old, []))
    except ConfigError:  # this program reads it no longer: the differences say why
        return old


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, old, new) for each value that differs between two trees."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else key
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield path, old, new
