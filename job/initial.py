"""model: weights to begin with, from another run, and parts that stay as they are."""

from collections.abc import Collection
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from job.checkpoint import Checkpoints
from job.config import Checkpoint
from job.plan import part_of
from job.state import MODEL
from mtl.errors import ConfigError
from mtl.models import Model
from mtl.plugin import nearest


def prepare_weights(model: nn.Module, options: Model) -> None:
    """Put weights of another run into a fresh model, and freeze what is to be frozen.

    Raises:
        ConfigError: that run has no whole checkpoint or other shapes, or a part does not exist.
    """
    if options.init_from is not None:
        _begin_with(model, options.init_from)
    _freeze(model, options.freeze)


def _begin_with(model: nn.Module, run_dir: Path) -> None:
    checkpoints = Checkpoints(run_dir, Checkpoint(), graph="")
    found = load_file(checkpoints.best() / MODEL)
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


def _freeze(model: nn.Module, parts: Collection[str]) -> None:
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
