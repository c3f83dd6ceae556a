"""checkpoint: atomic, verified; safetensors and JSON, nothing is ever unpickled."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from job.config import Checkpoint
from job.runtime import run_command
from job.state import Progress, TrainState
from mtl.errors import ConfigError, DataError

VERSION = 1
MODEL, OPTIMIZER, STATE, MANIFEST = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "manifest.json",
)


class Checkpoints:
    """The checkpoints of one run directory.

    Args:
        run_dir: holds them in `checkpoints/step_00000120/`.
        options: the `checkpoint:` section.
        graph: fingerprint of the graph; a checkpoint of another one is refused.
    """

    def __init__(self, run_dir: Path, options: Checkpoint, graph: str) -> None:
        self.folder, self.options, self.graph = run_dir / "checkpoints", options, graph

    def save(self, state: TrainState) -> Path:
        """Write a checkpoint aside, move it into place, and remove what is no longer kept."""
        progress = state.progress
        final = self.folder / f"step_{progress.step:08d}"
        aside = self.folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        model = {
            k: v.contiguous() for k, v in state.runtime.unwrap(state.model).state_dict().items()
        }
        save_file(model, aside / MODEL)
        save_file(dict(_optimizer_tensors(state)), aside / OPTIMIZER)
        (aside / STATE).write_text(json.dumps(state.scalars(), indent=2) + "\n")
        manifest = {
            "version": VERSION,
            "graph": self.graph,
            "progress": vars(progress),
            "versions": {"torch": torch.__version__},
            "files": {name: _identity(aside / name) for name in (MODEL, OPTIMIZER, STATE)},
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        for path in (*aside.iterdir(), aside):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _sync(self.folder)
        self._prune(progress)
        return final

    def resume(self, state: TrainState) -> bool:
        """Go on from the newest checkpoint that is whole; return whether there is one.

        The main process chooses, so that all processes go on from the same one.
        """
        runtime = state.runtime
        newest = self._newest() if runtime.is_main else None
        number = runtime.sum_int(0 if newest is None else 1 + _step_of(newest))
        if number:
            self.restore(state, self.path(number - 1))
        return number > 0

    def _newest(self) -> Path | None:
        """Return the newest checkpoint that is whole; say which ones are not."""
        for folder in reversed(self.all()):
            fault = verify(folder)
            if fault is None:
                return folder
            message = f"checkpoint {folder} is damaged ({fault}); trying the one before"
            print(message, file=sys.stderr)
        return None

    def newest_progress(self) -> Progress:
        """Return how far the newest whole checkpoint is.

        Raises:
            ConfigError: there is none.
        """
        newest = self._newest()
        if newest is None:
            raise ConfigError(f"run.dir: {self.folder} holds no whole checkpoint; train first")
        return Progress(**json.loads((newest / MANIFEST).read_text())["progress"])

    def all(self) -> list[Path]:
        """Return all checkpoints, oldest first, whole or not."""
        folders = self.folder.glob("step_*")
        return sorted(folder for folder in folders if re.fullmatch(r"step_\d{8}", folder.name))

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / f"step_{step:08d}"

    def restore(self, state: TrainState, folder: Path) -> None:
        """Put a checkpoint into model, optimizer and progress.

        Raises:
            ConfigError: it is of another graph or another model.
        """
        self._check_graph(folder)
        scalars = json.loads((folder / STATE).read_text())
        restore_model(state.runtime.unwrap(state.model), folder)
        _restore_optimizer(state, load_file(folder / OPTIMIZER), scalars["param_groups"])
        state.runtime.scaler_state = scalars["scaler"]
        vars(state.progress).update(scalars["progress"])

    def restore_weights(self, model: nn.Module, step: int | None) -> None:
        """Put the weights of a step into a model.

        Raises:
            ConfigError: there is no such checkpoint, or it belongs to another model.
            DataError: it is damaged.
        """
        steps = [_step_of(folder) for folder in self.all()]
        if step not in steps:
            raise ConfigError(
                f"checkpoint: {self.folder} has none of step {step} "
                f"(it has: {', '.join(map(str, steps)) or 'none'})"
            )
        fault = verify(self.path(step))
        if fault is not None:
            raise DataError(f"{self.path(step)}: {fault}")
        self._check_graph(self.path(step))
        restore_model(model, self.path(step))

    def _check_graph(self, folder: Path) -> None:
        trained_on = json.loads((folder / MANIFEST).read_text())["graph"]
        if trained_on != self.graph:
            raise ConfigError(
                f"graph: {folder} was trained on another graph (its fingerprint is "
                f"{trained_on[:12]}, this one's {self.graph[:12]}); take that graph, or another "
                f"run.dir"
            )

    def _prune(self, progress: Progress) -> None:
        keep = {path.name for path in self.all()[-self.options.keep :]}
        keep |= {self.path(progress.step).name, self.path(progress.best_step or 0).name}
        for path in self.all():
            if path.name not in keep:
                shutil.rmtree(path)


def restore_model(model: nn.Module, folder: Path) -> None:
    """Put the weights of a checkpoint into the model.

    Raises:
        ConfigError: they belong to another model.
    """
    found, wanted = load_file(folder / MODEL), model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    different = [
        f"{name}: {shapes.get(name, 'missing')} there, {tuple(wanted[name].shape)} here"
        if name in wanted
        else f"{name}: only there"
        for name in sorted(wanted.keys() | found.keys())
        if name not in wanted or shapes.get(name) != tuple(wanted[name].shape)
    ]
    if different:
        raise ConfigError(f"run.dir: {folder} holds another model: " + "; ".join(different[:5]))
    model.load_state_dict(found)


def verify(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files: dict[str, Any] = manifest["files"]
        if manifest["version"] > VERSION:
            raise DataError(f"{folder} was written by a newer version; update to read it")
        for name, identity in files.items():
            if _identity(folder / name) != identity:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        return f"{type(error).__name__}: {error}"
    return None


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _trained(state: TrainState) -> list[str]:
    """Return the names of the weights that the optimizer holds, in its order."""
    model = state.runtime.unwrap(state.model)
    return [name for name, weight in model.named_parameters() if weight.requires_grad]


def _optimizer_tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Yield `MOMENT/WEIGHT`, by name: the order of the tasks in the YAML does not matter."""
    names = _trained(state)
    for index, values in state.optimizer.state_dict()["state"].items():
        for moment, tensor in values.items():
            if isinstance(tensor, Tensor):
                yield f"{moment}/{names[index]}", tensor.contiguous()


def _restore_optimizer(
    state: TrainState, tensors: dict[str, Tensor], param_groups: list[dict[str, Any]]
) -> None:
    index = {name: i for i, name in enumerate(_trained(state))}
    values: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        moment, _, name = key.partition("/")
        values.setdefault(index[name], {})[moment] = tensor
    current = state.optimizer.state_dict()["param_groups"]
    groups = [
        {**saved, "params": group["params"]}
        for saved, group in zip(param_groups, current, strict=True)
    ]
    state.optimizer.load_state_dict({"state": values, "param_groups": groups})


def _identity(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


USAGE = """
usage: python -m job.checkpoint RUN_DIR

List the checkpoints of a run and verify each file against its checksum.
"""


def main(argv: list[str]) -> None:
    """Print one line for each checkpoint.

    Raises:
        ConfigError: there is none to list.
        DataError: some are damaged.
    """
    folder = Path(argv[0]) if len(argv) == 1 else Path()
    checkpoints = Checkpoints(folder, Checkpoint(), graph="")
    if len(argv) != 1 or not checkpoints.all():
        raise ConfigError(f"expected a run directory with checkpoints, found {' '.join(argv)!r}")
    faults = {path: verify(path) for path in checkpoints.all()}
    for path, fault in faults.items():
        print(f"{path.name}  {'whole' if fault is None else f'DAMAGED: {fault}'}")
    if any(faults.values()):
        raise DataError(f"{folder}: training goes on from the newest whole checkpoint")


if __name__ == "__main__":
    run_command(main, USAGE)
