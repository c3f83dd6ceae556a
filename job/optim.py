"""step: gradients to new weights; the learning rate is a pure function of the step."""

import math

import torch
from torch import nn, optim

from job.config import Optim


def build_optimizer(options: Optim, model: nn.Module, device: torch.device) -> optim.Optimizer:
    """Make the optimizer of the `optim:` section.

    On a GPU it is fused: one kernel for all weights, whose count of steps lies there, too. On the
    CPU it is not: the bits are those of torch's plain loop, whatever its fused one gains.

    Args:
        options: the section.
        model: with its weights, perhaps not yet on the device.
        device: where it is going to be trained.
    """
    fused = True if device.type == "cuda" else None
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.algorithm == "sgd":
        return optim.SGD(
            parameters,
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
            fused=fused,
        )
    kind = optim.AdamW if options.algorithm == "adamw" else optim.Adam
    return kind(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=fused)


def learning_rate(options: Optim, step: int, num_steps: int) -> float:
    """Return the learning rate of a step, counted from 0, of a training of `num_steps`."""
    if step < options.warmup_steps:
        return options.lr * (step + 1) / options.warmup_steps
    if options.schedule == "constant":
        return options.lr
    progress = (step - options.warmup_steps) / max(1, num_steps - options.warmup_steps)
    return options.lr * 0.5 * (1 + math.cos(math.pi * progress))
