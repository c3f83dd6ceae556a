"""stream: what an epoch will be made of, for people to read before it begins."""

from collections.abc import Mapping

from torch import nn

from mtl.loaders.seeds import SeedOrder
from mtl.tasks.bound import BoundTask


def describe_plan(order: SeedOrder, tasks: Mapping[str, BoundTask]) -> str:
    """Say how many steps an epoch has, and how many seeds of each group; which tasks read them."""
    per_step = min(order.global_batch_size, order.num_seeds)
    steps = f"{order.steps_per_epoch:,} step{'s' * (order.steps_per_epoch > 1)}"
    lines = [f"an epoch: {steps} of {per_step:,} seeds"]
    for group, size in order.sizes.items():
        names = [name for name, task in tasks.items() if task.group == group]
        share = per_step * size / max(order.num_seeds, 1)
        whole = len(order.groups[group])
        part = "" if size == whole else f" of {whole:,}"
        lines.append(f"  {size:,}{part} {group}, about {share:,.0f} a step: {', '.join(names)}")
    return "\n".join(lines)


def part_of(parameter: str) -> str:
    """Return which part of the model a parameter belongs to: trunk, heads/topic ..."""
    owner, part, *_ = parameter.split(".")
    return part if owner == "bottom" else f"{owner}/{part}"


def num_parameters(model: nn.Module) -> dict[str, int]:
    """Count what is trained, by part."""
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[part_of(name)] = parts.get(part_of(name), 0) + parameter.numel()
    return parts


def describe_parameters(parts: Mapping[str, int]) -> str:
    """Say how many parameters are trained, and where."""
    words = ", ".join(f"{name} {number:,}" for name, number in parts.items())
    return f"{sum(parts.values()):,} parameters: {words}"
