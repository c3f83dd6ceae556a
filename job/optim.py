"""step: gradients to new weights; the learning rate is a pure function of the step."""

import math

from torch import nn, optim

from job.config import Optim


def build_optimizer(options: Optim, model: nn.Module) -> optim.Optimizer:
    """Make the optimizer of the `optim:` section."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.algorithm == "sgd":
        return optim.SGD(
            parameters,
            lr=options.lr,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
        )
    kind = optim.AdamW if options.algorithm == "adamw" else optim.Adam
    return kind(parameters, lr=options.lr, weight_decay=options.weight_decay)


def learning_rate(options: Optim, step: int, num_steps: int) -> float:
    """Return the learning rate of a step, counted from 0, of a training of `num_steps`."""
    if step < options.warmup_steps:
        return options.lr * (step + 1) / options.warmup_steps
    if options.schedule == "constant":
        return options.lr
    progress = (step - options.warmup_steps) / max(1, num_steps - options.warmup_steps)
    return options.lr * 0.5 * (1 + math.cos(math.pi * progress))
