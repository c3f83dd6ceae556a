"""What people read before a training: seeds of a step, parameters by part."""

import numpy as np
from torch import nn

from job.plan import describe_parameters, describe_plan, num_parameters
from mtl.loaders.seeds import SeedOrder


class Task:
    def __init__(self, group):
        self.group = group


def test_groups_rates_and_steps_are_said():
    groups = {"user": np.arange(60), "user__buys__item": np.arange(400)}
    order = SeedOrder(groups, batch_size=16, global_batch_size=32, rates={"user__buys__item": 0.25})
    tasks = {"churn": Task("user"), "value": Task("user"), "buys": Task("user__buys__item")}
    assert describe_plan(order, tasks).splitlines() == [
        "an epoch: 5 steps of 32 seeds",
        "  60 user, about 12 a step: churn, value",
        "  100 of 400 user__buys__item, about 20 a step: buys",
    ]


def test_parameters_are_counted_by_part():
    model = nn.ModuleDict(
        {
            "bottom": nn.ModuleDict({"trunk": nn.Linear(3, 2), "projection": nn.Linear(1, 1)}),
            "heads": nn.ModuleDict({"a": nn.Linear(2, 1, bias=False)}),
        }
    )
    model["heads"]["a"].weight.requires_grad_(False)
    assert num_parameters(model) == {"trunk": 8, "projection": 2}
    assert describe_parameters({"trunk": 8000, "heads/a": 2}) == (
        "8,002 parameters: trunk 8,000, heads/a 2"
    )
