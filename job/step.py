"""step: one microbatch forward and backward, exact whatever the number of processes."""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from job.runtime import Runtime
from mtl.balancing import Balancing
from mtl.tasks.bound import BoundTask
from mtl.tasks.losses import task_losses, weights


def backward(
    model: nn.Module,
    batch: Data,
    tasks: Mapping[str, BoundTask],
    balancing: Balancing,
    runtime: Runtime,
    seed: int,
) -> Float[Tensor, " tasks"]:
    """Add the gradient of one microbatch; return its part of the losses.

    Args:
        model: as prepared by the runtime.
        batch: an empty one contributes an exact zero; gradients of all processes meet in the last
            one of a step.
        tasks: by name.
        balancing: losses to one number.
        runtime: DDP averages over processes, so the loss is multiplied by their number.
        seed: of the run; dropout follows from it and from the number of the microbatch.
    """
    with runtime.clock("copy"):
        batch = batch.to(runtime.device, non_blocking=True)
    torch.manual_seed(microbatch_seed(seed, batch.number))
    with runtime.accumulate(model, last=batch.is_last):
        with runtime.clock("forward"):
            losses = task_losses(model(batch), batch, tasks)
            combined = balancing.combine(losses * weights(tasks, losses))
        runtime.backward(combined * runtime.world_size)
    return losses.detach()


def microbatch_seed(seed: int, number: int) -> int:
    """Return what everything random on the device follows from: not rank, not world size."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def warm_up(model: nn.Module, empty: Data, runtime: Runtime) -> None:
    """Run one forward and backward of zeros.

    DDP arranges its buckets after the first backward: without this, the last bit of a resumed
    training differs from 3 processes up. Shapes that do not fit show up here, too.
    """
    total = torch.stack([prediction.sum() for prediction in model(empty).values()]).sum()
    runtime.backward(total * 0)
    model.zero_grad()
