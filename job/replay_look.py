"""replay: each microbatch of a step from close by: losses, gradients, and where NaN begins."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from job.gramian import AtRepresentation
from job.replay_run import Again
from job.step import microbatch_seed
from mtl.loaders.stream import Batch
from mtl.tasks.bound import BoundTask
from mtl.tasks.losses import apart

Named = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Microbatch:
    """What a microbatch holds and what the model makes of it.

    Attributes:
        number: of the microbatch, counted from the start of the training.
        batch: as the model reads it.
        outputs: of each task.
        losses: its part of the loss of each task.
        broken_module: whose output is the first that is not finite.
        broken_seeds: of each task, those whose own loss is not finite.
    """

    number: int
    batch: Batch
    outputs: Named
    losses: Named
    broken_module: str | None
    broken_seeds: Mapping[str, Int[np.ndarray, " seeds"]]


@dataclass(frozen=True, eq=False)
class Look:
    """A step from close by.

    Attributes:
        microbatches: all of them.
        gradients: of each task's loss, times its `weight`, at each weight of the model.
        at_representation: Gramian of the tasks' gradients there; None where there is no such place.
        broken_weights: those that are not finite before the step.
    """

    microbatches: list[Microbatch]
    gradients: dict[str, Named]
    at_representation: Float[Tensor, "tasks tasks"] | None
    broken_weights: list[str]


def look(again: Again, step: int) -> Look:
    """Make every microbatch of a step, in this process alone, and the gradient of each task."""
    module, tasks = again.module, again.tasks
    scale, order = again.runtime.loss_scale, again.stream.order
    gradients: dict[str, Named] = {name: {} for name in tasks}
    shared = AtRepresentation(module, len(tasks), scale)
    visible = module.has_representation and any(p.requires_grad for p in module.bottom.parameters())
    seen = []
    for number in order.share(step - 1, 0, 1):
        assert number is not None
        batch = again.stream.loader([number]).to(again.runtime.device)
        torch.manual_seed(microbatch_seed(again.config.run.seed, number))
        with first_broken(module) as broken:
            outputs = module(batch)
        losses = apart(outputs, batch, tasks)
        weighted = [x * t.task.weight for x, t in zip(losses, tasks.values(), strict=True)]
        labelled = [len(batch.target[name]) > 0 for name in tasks]
        if visible:
            shared.add(weighted, labelled)
        for name, loss, there in zip(tasks, weighted, labelled, strict=True):
            if there:
                add(gradients[name], loss, module, scale)
        parts = dict(zip(tasks, losses, strict=True))
        seeds = {
            name: reads[broken_rows(tasks[name], outputs[name], batch.target[name])]
            for name, reads in again.stream.loader.reads(number).items()
            if not parts[name].isfinite()
        }
        seen.append(
            Microbatch(
                number, batch, detached(outputs), detached(parts), next(iter(broken), None), seeds
            )
        )
    weights = [name for name, p in module.named_parameters() if not p.isfinite().all()]
    return Look(seen, gradients, shared.gramian() if visible else None, weights)


def add(total: Named, loss: Float[Tensor, ""], module: nn.Module, scale: float) -> None:
    """Add the gradient of a loss at each weight that is trained and that it depends on."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(
        loss * scale, list(trained.values()), retain_graph=True, allow_unused=True
    )
    for name, gradient in zip(trained, found, strict=True):
        if gradient is not None:
            part = (gradient / scale).cpu()
            total[name] = total[name] + part if name in total else part


def gramian(gradients: Mapping[str, Named], names: Iterable[str]) -> Float[Tensor, "tasks tasks"]:
    """Return the inner products of the tasks' gradients at some weights, in float64."""
    total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for name in names:
        there = [found[name] for found in gradients.values() if name in found]
        if there:
            rows = [found.get(name, torch.zeros_like(there[0])) for found in gradients.values()]
            matrix = torch.stack([row.flatten().double() for row in rows])
            total += matrix @ matrix.T
    return total


@contextmanager
def first_broken(module: nn.Module) -> Iterator[list[str]]:
    """Give a list that gets the modules whose output is not finite, in the order of their ends."""
    broken: list[str] = []

    def look_at(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if not all(x.isfinite().all() for x in tensors_in(output)):
            broken.append(f"{name} ({type(module).__name__})")

    named = [(name, part) for name, part in module.named_modules() if name]
    hooks = [part.register_forward_hook(partial(look_at, name)) for name, part in named]
    try:
        yield broken
    finally:
        for hook in hooks:
            hook.remove()


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield all tensors of floats in nested mappings and sequences."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def broken_rows(
    task: BoundTask, outputs: Float[Tensor, "rows outputs"], target: Tensor
) -> Int[np.ndarray, " rows"]:
    """Return the rows whose own loss is not finite."""
    alone = (task.loss_sum(outputs[i : i + 1], target[i : i + 1]) for i in range(len(target)))
    return np.flatnonzero([not loss.isfinite() for loss in alone])


def detached(named: Mapping[str, Tensor]) -> Named:
    """Return the tensors without their graphs."""
    return {name: x.detach() for name, x in named.items()}
