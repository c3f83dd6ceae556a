"""evaluation: how much each task hears of each expert, over all seeds of a split."""

from collections.abc import Iterator, Mapping

import torch
from rich.table import Table
from torch import nn

from job.record import GATE
from mtl.collective import Collective
from mtl.models.sharing._gate import Gate


def reset_gates(model: nn.Module) -> None:
    """Begin to count afresh."""
    for gate in _gates(model):
        gate.reset()


def gate_shares(model: nn.Module, collective: Collective) -> dict[str, float]:
    """Return `{gate/TASK/CHOICE: mean weight}` over all processes; {} where nothing chooses."""
    gates = list(_gates(model))
    if not gates:
        return {}
    totals = [gate.totals() for gate in gates]
    device = totals[0][0].device
    mine = [torch.cat([s, torch.tensor([float(n)], device=device).double()]) for s, n in totals]
    summed = collective.sum(torch.cat(mine)).cpu()
    shares = {}
    for gate, numbers in zip(gates, torch.split(summed, [len(m) for m in mine]), strict=True):
        means = numbers[:-1] / numbers[-1].clamp(min=1)
        for choice, mean in zip(gate.choices, means.tolist(), strict=True):
            shares[f"{GATE}/{gate.task}/{choice}"] = mean
    return shares


def gate_table(metrics: Mapping[str, float]) -> Table | None:
    """Return a table of tasks and what they choose from; None where there is nothing to show."""
    cells = {key: value for key, value in metrics.items() if key.startswith(f"{GATE}/")}
    if not cells:
        return None
    parts = [key.split("/", 2)[1:] for key in cells]
    tasks, choices = (list(dict.fromkeys(column)) for column in zip(*parts, strict=True))
    table = Table(
        title="what each task hears of (mean weight over validation)", title_justify="left"
    )
    table.add_column("", min_width=max(map(len, choices)))  # names whole, on narrow terminals too
    for task in tasks:
        table.add_column(task, justify="right")
    for choice in choices:
        found = (cells.get(f"{GATE}/{task}/{choice}") for task in tasks)
        table.add_row(choice, *("" if value is None else f"{value:.2f}" for value in found))
    return table


def _gates(model: nn.Module) -> Iterator[Gate]:
    return (module for module in model.modules() if isinstance(module, Gate))
