"""model: weights to begin with, from another run, and parts that stay as they are."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from torch import nn

from job.checkpoint import Checkpoints
from job.config import Checkpoint, JobConfig
from job.plan import part_of
from job.runtime import Runtime
from job.state import MODEL, read_tensors
from mtl.errors import ConfigError
from mtl.models.multitask import MultiTaskModel
from mtl.plugin import nearest

COMPILERS = tuple(filter(None, (os.environ.get("CXX"), "g++", "clang++", "c++")))


def begin_with(model: nn.Module, run_dir: Path, runtime: Runtime) -> None:
    """Put the best weights of another run into a fresh model, all that have a place there.

    The main process chooses which, so that all processes begin with the same ones.

    Raises:
        ConfigError: that run has no whole checkpoint, or weights of other shapes.
    """
    checkpoints, chosen = Checkpoints(run_dir, Checkpoint(), graph=""), [0]
    runtime.on_main(lambda: chosen.append(checkpoints.best()))
    folder = checkpoints.path(runtime.sum_int(chosen[-1]))
    if not runtime.all_agree(folder.is_dir()):
        raise ConfigError(
            f"model.init_from: {folder} is not on all machines; copy it to them, or take a path "
            "that they share"
        )
    found = read_tensors(folder / MODEL)
    wanted = model.state_dict()
    shared = found.keys() & wanted.keys()
    different = [
        f"{name}: {tuple(found[name].shape)} there, {tuple(wanted[name].shape)} here"
        for name in sorted(shared)
        if found[name].shape != wanted[name].shape
    ]
    if different or not shared:
        reason = "; ".join(different[:5]) or "no weight of it has a place here"
        raise ConfigError(f"model.init_from: {run_dir} holds another model: {reason}")
    model.load_state_dict({name: found[name] for name in shared}, strict=False)


def set_up(model: MultiTaskModel, config: JobConfig) -> None:
    """Freeze the parts of a new model that shall not learn, and have its layers compiled if asked.

    Raises:
        ConfigError: see `freeze`; or there is nothing to compile with.
    """
    freeze(model, config.model.freeze)
    if config.train.compile:
        if not any(map(shutil.which, COMPILERS)):
            raise ConfigError(
                "train.compile: torch.compile needs a C++ compiler, and PATH has none (looked for: "
                f"{', '.join(COMPILERS)}); install one, or leave train.compile out"
            )
        model.bottom.compile_training()


def freeze(model: nn.Module, parts: Collection[str]) -> None:
    """Leave some parts as they are.

    Raises:
        ConfigError: the model has no such part, or nothing is left to train.
    """
    named = [(part_of(n), p) for n, p in model.named_parameters() if p.requires_grad]
    there = list(dict.fromkeys(part for part, _ in named))
    for part in parts:
        if part not in there:
            raise ConfigError(
                f"model.freeze: the model has no part {part!r}{nearest(part, there)} (it has: "
                f"{', '.join(there)})"
            )
    for part, parameter in named:
        if part in parts:
            parameter.requires_grad_(False)
    if set(there) <= set(parts):
        raise ConfigError("model.freeze: nothing is left to train")
