"""Two processes that take one step in many ways; each gradient is compared with the exact one.

usage: RANK=... WORLD_SIZE=2 ... python benchmarks/_failures.py OUT.json

The model is ours, tiny and in double precision; what is tried is what people write around it. Both
processes have all microbatches, so each computes the exact gradient by itself, task by task.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch_geometric.data import Data
from torchjd.aggregation import (
    AlignedMTLWeighting,
    MGDAWeighting,
    PCGradWeighting,
    UPGrad,
    UPGradWeighting,
)
from torchjd.autojac import jac_to_grad, mtl_backward

from job.runtime import Runtime
from job.step import Stepper
from mtl.balancing import Balancing
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders.sage import Sage
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing.hard import Hard
from mtl.tasks.bound import bind_tasks
from mtl.tasks.losses import apart
from mtl.tasks.node_classification import NodeClassification
from mtl.tasks.node_regression import NodeRegression

TASKS = {
    "churn": NodeClassification(label="churn"),
    "segment": NodeClassification(label="segment"),
    "value": NodeRegression(label="value"),
}
LABELS = {"churn": (20, 100), "segment": (100, 4), "value": (100, 100)}
"""Of each task on each process."""
UPGRAD, MGDA, ALIGNED, PCGRAD = (
    UPGradWeighting(),
    MGDAWeighting(),
    AlignedMTLWeighting(),
    PCGradWeighting(),
)
Weigh = Callable[[Tensor], Tensor]
Compared = tuple[Tensor, Tensor]
"""What this process found, and what is exact."""


class Case:
    """A step of two processes, of one microbatch each, or of two each.

    Args:
        runtime: this process.
        folder: for the graph.
    """

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        torch.manual_seed(0)
        store = open_graph(Synthetic(num_nodes=1000, missing=0.0, cache=folder))
        self.runtime, self.tasks = runtime, bind_tasks(TASKS, store)
        loader = Loader(num_neighbors=(4, 4), batch_size=100, global_batch_size=400)
        stream = build_stream(loader, store, self.tasks, seed=0)
        encoder = Sage(num_layers=2, dropout=0.0)
        self._model = build_model(Model(encoder=encoder, sharing=Hard(), dim=16), store, self.tasks)
        self._model.double()
        self._batches = [_cut(stream.loader([i]), i % 2) for i in range(4)]

    def mine(self, number: int = 1) -> list[Data]:
        """Return the microbatches of this process, `number` of them."""
        return self._batches[self.runtime.rank : 2 * number : 2]

    def model(self) -> MultiTaskModel:
        """Return a fresh model, the same each time."""
        return deepcopy(self._model)

    def ddp(self, **options: Any) -> DistributedDataParallel:
        """Return a fresh model of all processes."""
        return DistributedDataParallel(self.model(), **options)

    def counts(self, number: int = 1) -> dict[str, float]:
        """Return the labels of each task in the step."""
        used = self._batches[: 2 * number]
        return {name: float(sum(len(b.target[name]) for b in used)) for name in self.tasks}

    def losses(self, model: nn.Module, batch: Data, number: int = 1) -> list[Tensor]:
        """Return a microbatch's part of each task's mean over the whole step, times two.

        DDP averages over two processes.
        """
        batch.num_targets = self.counts(number)
        return [2 * part for part in apart(model(batch), batch, self.tasks)]

    def jacobian(self, number: int = 1) -> Tensor:
        """Return the exact gradient of each task's loss, [tasks, weights below the heads]."""
        rows = [self.rows(self.model(), b, number) for b in self._batches[: 2 * number]]
        return torch.stack(rows).sum(0) / 2

    def rows(self, model: nn.Module, batch: Data, number: int = 1) -> Tensor:
        """Return the gradient of each task's loss on a microbatch."""
        inner = self.runtime.unwrap(model)
        losses = self.losses(model, batch, number)
        return torch.stack([_flat(loss, list(inner.bottom.parameters())) for loss in losses])

    def at_representation(self, batches: Sequence[Data], number: int = 1) -> Tensor:
        """Return the gradient of each task's loss with regard to what all tasks read."""
        model, parts = self.model(), []
        for batch in batches:
            losses = self.losses(model, batch, number)
            read = list(model.representation.values())
            parts.append(torch.stack([_flat(loss / 2, read) for loss in losses]))
        return torch.cat(parts, 1)

    def exact_at_representation(self, number: int = 1) -> Tensor:
        """Return the same of all microbatches."""
        return self.at_representation(self._batches[: 2 * number], number)


def _cut(batch: Data, process: int) -> Data:
    """Leave so many labels of each task as the process has."""
    for name, numbers in LABELS.items():
        batch.rows[name] = batch.rows[name][: numbers[process]]
        batch.target[name] = batch.target[name][: numbers[process]]
    return batch


def _flat(loss: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, inputs, retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in found])


def _gradient(model: nn.Module) -> Tensor:
    """Return the gradient of what lies below the heads."""
    inner = getattr(model, "module", model)
    return torch.cat([p.grad.flatten() for p in inner.bottom.parameters()])


def _mean(tensor: Tensor) -> Tensor:
    dist.all_reduce(tensor)
    return tensor / 2


def mean_of_means(case: Case) -> Compared:
    model, (batch,) = case.ddp(find_unused_parameters=True), case.mine()
    target, task = batch.target["segment"], case.tasks["segment"]
    (task.loss_sum(model(batch)["segment"], target) / len(target)).backward()
    return _gradient(model), case.jacobian()[1]


def global_counts(case: Case) -> Compared:
    model, (batch,) = case.ddp(find_unused_parameters=True), case.mine()
    case.losses(model, batch)[1].backward()
    return _gradient(model), case.jacobian()[1]


def a_backward_each(case: Case) -> Compared:
    model, (batch,) = case.ddp(find_unused_parameters=True), case.mine()
    for loss in case.losses(model, batch):
        loss.backward(retain_graph=True)
    return _gradient(model), case.jacobian().sum(0)


def a_grad_each(weigh: Weigh) -> Callable[[Case], Compared]:
    def found(case: Case) -> Compared:
        rows = case.rows(case.ddp(), *case.mine())
        return _combined(weigh, rows), _combined(weigh, case.jacobian())

    return found


def torchjd_inside(case: Case) -> Compared:
    model, (batch,) = case.ddp(), case.mine()
    losses = case.losses(model, batch)
    mtl_backward(losses, list(model.module.representation.values()), parallel_chunk_size=1)
    jac_to_grad(model.module.bottom.parameters(), UPGrad())
    return _gradient(model), _combined(UPGRAD, case.jacobian())


def each_then_average(weigh: Weigh) -> Callable[[Case], Compared]:
    def found(case: Case) -> Compared:
        mine = _combined(weigh, case.rows(case.model(), *case.mine()))
        return _mean(mine), _combined(weigh, case.jacobian())

    return found


def average_of_gramians(case: Case) -> Compared:
    rows, exact = case.rows(case.model(), *case.mine()), case.jacobian()
    return _mean(rows @ rows.T), exact @ exact.T


def gramian_of_the_average(case: Case) -> Compared:
    rows, exact = _mean(case.rows(case.model(), *case.mine())), case.jacobian()
    return rows @ rows.T, exact @ exact.T


def sum_at_representation(case: Case) -> Compared:
    rows, exact = case.at_representation(case.mine()), case.exact_at_representation()
    return 2 * _mean(rows @ rows.T), exact @ exact.T


def kept_and_descended_apart(case: Case) -> Compared:
    model = case.ddp()
    with model.no_sync():
        first, last = (torch.stack(case.losses(model, b, 2)).sum() for b in case.mine(2))
        first.backward()
    last.backward()
    return _gradient(model), case.jacobian(2).sum(0)


def ours(method: str, at: str | None = None) -> Callable[[Case], Compared]:
    def found(case: Case) -> Compared:
        options = Balancing.read({"type": method, **({"at": at} if at else {})})
        module, batches = case.model(), case.mine(2)
        model, _ = case.runtime.prepare(module, torch.optim.SGD(module.parameters()))
        counts = case.counts(2)
        for batch in batches:
            batch.num_targets, batch.is_last = counts, batch is batches[-1]
        stream = SimpleNamespace(
            loader=SimpleNamespace(num_targets_of=lambda step: counts),
            order=SimpleNamespace(steps_per_epoch=1),
        )
        stepper = Stepper(model, case.tasks, options, case.runtime, stream, 0)
        list(stepper.backward(batches, 0))
        rows = case.jacobian(2)
        read = case.exact_at_representation(2) if at == "representation" else rows
        gramian = read @ read.T
        weights = UPGRAD(gramian / gramian.trace()) if at else rows.new_full((3,), 1 / 3)
        return _gradient(model), weights @ rows

    return found


def _combined(weigh: Weigh, rows: Tensor) -> Tensor:
    torch.manual_seed(0)  # PCGrad draws an order
    return weigh(rows @ rows.T) @ rows


PATTERNS: dict[str, Callable[[Case], Compared]] = {
    "mean of each process's mean, 100 labels and 4": mean_of_means,
    "sums divided by the labels of all": global_counts,
    "a backward for each task, find_unused_parameters": a_backward_each,
    "autograd.grad for each task, as published: PCGrad": a_grad_each(PCGRAD),
    "autograd.grad for each task, as published: MGDA": a_grad_each(MGDA),
    "TorchJD's mtl_backward, UPGrad": torchjd_inside,
    "aggregate on each process, then average: MGDA": each_then_average(MGDA),
    "aggregate on each process, then average: AlignedMTL": each_then_average(ALIGNED),
    "aggregate on each process, then average: PCGrad": each_then_average(PCGRAD),
    "average of the processes' Gramians of weights": average_of_gramians,
    "Gramian of the average of the Jacobians": gramian_of_the_average,
    "sum of the processes' Gramians at the representation": sum_at_representation,
    "two graphs kept, two backwards, the first in no_sync": kept_and_descended_apart,
    "ours, equal": ours("equal"),
    "ours, upgrad": ours("upgrad", "representation"),
    "ours, upgrad, at: parameters": ours("upgrad", "parameters"),
}


def measured(case: Case) -> Iterator[dict[str, Any]]:
    """Yield what each pattern is off, and how far the processes are apart."""
    for name, pattern in PATTERNS.items():
        try:
            found, exact = pattern(case)
        except RuntimeError as error:  # both processes come to it alike
            yield {"pattern": name, "refused": str(error).splitlines()[0]}
            continue
        everyone = [torch.zeros_like(found) for _ in range(2)]
        dist.all_gather(everyone, found)
        one, other = ((x - exact).norm() / exact.norm() for x in everyone)
        apart_by = (everyone[0] - everyone[1]).norm() / exact.norm()
        yield {"pattern": name, "error": float(max(one, other)), "apart": float(apart_by)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with Runtime("fp64") as the_runtime:
        found = list(measured(Case(the_runtime, out.parent / "cache")))
        if the_runtime.is_main:
            out.write_text(json.dumps(found))
    os._exit(0)  # gloo's threads abort some finished processes in the interpreter's own exit
