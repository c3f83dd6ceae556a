"""replay: what a notebook reads: batch.json, and the tensors of the step."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from job.record import write_json
from job.replay_card import Card
from job.replay_look import Look, Microbatch
from mtl.graphs.schema import text

CARD, TENSORS = "batch.json", "tensors.safetensors"


def write(out: Path, card: Card, seen: Look) -> None:
    """Write both files into a folder.

    Raises:
        OSError: they cannot be written.
    """
    tensors = dict(named_tensors(seen))
    save_file({n: x.detach().cpu().clone().contiguous() for n, x in tensors.items()}, out / TENSORS)
    write_json(out / CARD, card)


def named_tensors(seen: Look) -> Iterator[tuple[str, Tensor]]:
    """Yield `gradient/TASK/WEIGHT` and, of each microbatch N, `N/loss/TASK`, `N/output/TASK`,
    `N/batch/...`.
    """
    for task, gradients in seen.gradients.items():
        for name, gradient in gradients.items():
            yield f"gradient/{task}/{name}", gradient
    for one in seen.microbatches:
        for task, loss in one.losses.items():
            yield f"{one.number}/loss/{task}", loss
            yield f"{one.number}/output/{task}", one.outputs[task]
        for name, tensor in batch_tensors(one):
            yield f"{one.number}/batch/{name}", tensor


def batch_tensors(one: Microbatch) -> Iterator[tuple[str, Tensor]]:
    """Yield `x`, `target/TASK` ..., below the type of nodes or edges where there are several."""
    for store in one.batch.stores:
        prefix = "" if store._key is None else f"{text(store._key)}/"
        for name, value in store.items():
            yield from below(f"{prefix}{name}", value)


def below(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor, a list of numbers as one, or those of a mapping."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from below(f"{name}/{key}", item)
    elif isinstance(value, list) and all(isinstance(item, int) for item in value):
        yield name, torch.tensor(value)
