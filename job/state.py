"""state: exactly what a checkpoint holds."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from job.runtime import Runtime
from mtl.balancing import Balancer
from mtl.errors import ConfigError, DataError

MODEL, OPTIMIZER, BALANCER = "model.safetensors", "optimizer.safetensors", "balancer.safetensors"
SCALARS = "state.json"


@dataclass
class Progress:
    """How far the training is, and how good it was at its best."""

    step: int = 0
    """Optimizer steps done."""
    best_score: float | None = None
    """Best value so far of `evaluate.select`."""
    best_step: int | None = None
    """Step at which that was."""
    evaluations_without_gain: int = 0
    """Evaluations since then: early stopping counts them."""
    evaluation_due: bool = False
    """Whether the weights of this step are still to be evaluated: it was stopped before."""

    def is_over(self, num_steps: int, patience: int | None) -> bool:
        """Return whether nothing is left to do: all steps done, or no gain for too long."""
        exhausted = patience is not None and self.evaluations_without_gain >= patience
        return not self.evaluation_due and (self.step >= num_steps or exhausted)

    def epoch(self, steps_per_epoch: int) -> int:
        """Return the epoch that is to be ended, from 1 on."""
        return (self.step - self.evaluation_due) // steps_per_epoch + 1

    def update(self, score: float, sign: int) -> bool:
        """Take the score of an evaluation; return whether it is the best so far.

        Args:
            score: the same on every process, so all decide alike; NaN is never the best.
            sign: 1 where higher is better, -1 where lower is.
        """
        best = -math.inf if self.best_score is None else sign * self.best_score
        improved = sign * score > best
        if improved:
            self.best_score, self.best_step = score, self.step
        self.evaluations_without_gain = 0 if improved else self.evaluations_without_gain + 1
        self.evaluation_due = False
        return improved


@dataclass
class TrainState:
    """All that the next step depends on.

    The data order and everything random follow from `run.seed` and the step, the learning rate
    from the step.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    runtime: Runtime
    balancer: Balancer
    progress: Progress = field(default_factory=Progress)

    def snapshot(self) -> "Snapshot":
        """Return a copy of all of it, in the memory of the CPU: the training may go on."""
        weights = self.runtime.unwrap(self.model).state_dict()
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.optimizer.state_dict()["param_groups"]
        ]
        scalars = {
            "progress": vars(self.progress),
            "param_groups": groups,
            "scaler": self.runtime.scaler_state,
            "versions": {"torch": torch.__version__},
        }
        tensors = {
            MODEL: _copied(weights),
            OPTIMIZER: _copied(dict(self._moments())),
            BALANCER: _copied(self.balancer.state()),
        }
        return Snapshot(tensors, json.dumps(scalars, indent=2), dict(vars(self.progress)))

    def read(self, folder: Path) -> None:
        """Take what a snapshot wrote.

        Raises:
            ConfigError: it is of another model.
        """
        scalars = json.loads((folder / SCALARS).read_text())
        read_weights(self.runtime.unwrap(self.model), folder)
        self._read_moments(read_tensors(folder / OPTIMIZER), scalars["param_groups"])
        self._read_balancer(folder)
        self.runtime.scaler_state = scalars["scaler"]
        vars(self.progress).update(scalars["progress"])

    def _read_balancer(self, folder: Path) -> None:
        found, wanted = read_tensors(folder / BALANCER), self.balancer.state()
        shapes = [{n: tuple(x.shape) for n, x in state.items()} for state in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"run.dir: {folder} holds another balancing, or other tasks: its memory is "
                f"{shapes[0]}, here it is {shapes[1]}"
            )
        self.balancer.load(found)

    def _trained(self) -> list[str]:
        """Return the names of the weights that the optimizer holds, in its order."""
        model = self.runtime.unwrap(self.model)
        return [name for name, weight in model.named_parameters() if weight.requires_grad]

    def _moments(self) -> Iterator[tuple[str, Tensor]]:
        """Yield `MOMENT/WEIGHT`, by name: the order of the tasks in the YAML does not matter."""
        names = self._trained()
        for index, values in self.optimizer.state_dict()["state"].items():
            for moment, tensor in values.items():
                if isinstance(tensor, Tensor):
                    yield f"{moment}/{names[index]}", tensor

    def _read_moments(self, tensors: dict[str, Tensor], param_groups: list[dict[str, Any]]) -> None:
        index = {name: i for i, name in enumerate(self._trained())}
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            moment, _, name = key.partition("/")
            values.setdefault(index[name], {})[moment] = tensor
        current = self.optimizer.state_dict()["param_groups"]
        groups = [
            # how the update is computed belongs to the device, not to what was saved
            {**saved, "params": group["params"], "fused": group["fused"]}
            for saved, group in zip(param_groups, current, strict=True)
        ]
        self.optimizer.load_state_dict({"state": values, "param_groups": groups})


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds, as it was at one step.

    Attributes:
        tensors: by file and name.
        scalars: the rest, as JSON.
        progress: how far the training was.
    """

    tensors: dict[str, dict[str, Tensor]]
    scalars: str
    progress: dict[str, Any]

    @property
    def num_bytes(self) -> int:
        """Size of the files, but for their headers."""
        return sum(t.nbytes for tensors in self.tensors.values() for t in tensors.values())

    def write(self, folder: Path) -> None:
        """Write all of it into a folder: tensors as safetensors, the rest as JSON.

        Raises:
            OSError: it cannot be written.
        """
        for name, tensors in self.tensors.items():
            try:
                save_file(tensors, folder / name)
            except SafetensorError as error:  # a full disk, say
                raise OSError(f"{folder / name}: {error}") from error
        (folder / SCALARS).write_text(self.scalars + "\n", encoding="utf-8")


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors; nothing in it is ever unpickled.

    Raises:
        DataError: it is none.
    """
    if path.exists() and not path.is_file():  # a pipe, say, which would never begin
        raise DataError(f"{path}: is no regular file")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot be read as safetensors: {error}") from error
    return tensors


def read_weights(model: nn.Module, folder: Path) -> None:
    """Put the weights of a checkpoint into the model.

    Raises:
        ConfigError: they belong to another model.
    """
    found, wanted = read_tensors(folder / MODEL), model.state_dict()
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
