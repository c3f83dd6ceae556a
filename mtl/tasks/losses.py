"""tasks: what a microbatch adds to the loss of each task."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from mtl.tasks.bound import BoundTask


def task_losses(
    predictions: Mapping[str, Float[Tensor, "rows outputs"]],
    batch: Data,
    tasks: Mapping[str, BoundTask],
) -> Float[Tensor, " tasks"]:
    """Return this microbatch's part of the mean loss of each task over the whole step.

    The sum over the seeds here is divided by the labels of ALL microbatches of ALL processes, so
    parts add up to the mean of one big batch. (A mean of each process's own mean does not: its
    gradient is off by 508 % at 100 labels against 4.) Without a label the part is an exact 0.
    `weight` is not in it.
    """
    return torch.stack(apart(predictions, batch, tasks))


def apart(
    predictions: Mapping[str, Float[Tensor, "rows outputs"]],
    batch: Data,
    tasks: Mapping[str, BoundTask],
) -> list[Float[Tensor, ""]]:
    """Return the same one by one: the gradient of one goes through no other task's head."""
    return [
        task.loss_sum(predictions[name], batch.target[name]) / (batch.num_targets[name] or 1)
        for name, task in tasks.items()
    ]
