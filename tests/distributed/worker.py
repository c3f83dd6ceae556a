"""Run every case on 1, 2, 3 and 4 processes, forked from one that has imported everything.

usage: python worker.py OUT_DIR [W ...]   (reads OUT_DIR/cases.json, writes OUT_DIR/CASE.W.RANK.npz)

A case may name its `world_sizes`; it runs on all of them otherwise.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo
import torchmetrics.classification
import torchmetrics.regression  # noqa: F401
from forked import run_forked

from job.config import JobConfig, read
from job.evaluation import Evaluation
from job.meter import Meter
from job.optim import build_optimizer
from job.runtime import Runtime
from job.step import Stepper, warm_up
from mtl.graphs.cache import open_graph
from mtl.loaders.stream import build_stream
from mtl.models.multitask import build_model
from mtl.tasks.bound import BoundTask, bind_tasks

WORLD_SIZES = (1, 2, 3, 4)


def run_case(case: dict[str, Any], runtime: Runtime) -> dict[str, np.ndarray]:
    """Return the gradient of the first step and, after some steps, weights and metrics."""
    config, num_steps = read(case["config"], []), case["num_steps"]
    store = open_graph(config.graph)
    tasks = bind_tasks(config.tasks, store)
    if (poison := case.get("poison")) and runtime.rank == runtime.world_size - 1:
        break_loss(tasks[poison["task"]], poison["at"])
    stream = build_stream(
        config.loader,
        store,
        tasks,
        num_hops=config.model.encoder.num_hops,
        seed=config.run.seed,
        edge_features=config.model.encoder.reads_edge_features,
    )
    torch.manual_seed(0)
    model = build_model(config.model, store, tasks)
    optimizer = build_optimizer(config.optim, model, runtime.device)
    model, optimizer = runtime.prepare(model, optimizer)
    warm_up(model, stream.loader([None]), runtime)
    policy, seed = config.train.on_nonfinite, config.run.seed
    stepper = Stepper(model, tasks, config.balancing, runtime, stream, seed, policy)
    stepper.choose_memory()
    meter = Meter(runtime, list(tasks), stops=policy == "stop")
    inner = runtime.unwrap(model)
    out: dict[str, np.ndarray] = {}
    first = stream.order.steps_per_epoch - 1  # the short step at the end of an epoch, then others
    for step, batches in stream.steps(first, first + num_steps, runtime.rank, runtime.world_size):
        for batch, losses in stepper.backward(batches, step):
            meter.add(losses, batch)
        if step == first:
            trained = ((n, p) for n, p in inner.named_parameters() if p.requires_grad)
            out |= {f"grad/{n}": p.grad.numpy().copy() for n, p in trained}
        norm = runtime.clip(model, config.optim.clip_norm)
        if stepper.agreement.allows(norm):
            optimizer.step()
        else:
            runtime.skip_step()
        optimizer.zero_grad()
        stepper.look_back()
        meter.close(step, norm, stream.order.size(step))
        record = meter.read() | stepper.agreement.record()
        out |= {f"{key}/{step}": np.array(value) for key, value in record.items()}
    out |= {f"weight/{n}": p.detach().numpy().copy() for n, p in inner.named_parameters()}
    evaluation = Evaluation(config, store, tasks, runtime)
    flat = evaluation.flat("val", evaluation.run(model, "val"))
    return out | {key: np.array(value) for key, value in flat.items()}


def break_loss(task: BoundTask, at: int) -> None:
    """Have a task's loss be NaN in its n-th call that has a label."""
    whole, calls = task.loss_sum, itertools.count()

    def broken(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = whole(prediction, target)
        return loss * float("nan") if len(target) and next(calls) == at else loss

    object.__setattr__(task, "loss_sum", broken)


def run_rank(cases: dict[str, Any], out: Path) -> None:
    """Run all cases as one of several processes."""
    with Runtime("fp64") as runtime:
        torch.set_num_threads(1)
        for name, case in cases.items():
            result = run_case(case, runtime)
            np.savez(out / f"{name}.{runtime.world_size}.{runtime.rank}.npz", **result)


def warm_caches(config: JobConfig) -> None:
    """Compile the sampler and import what torch imports late, once for all children."""
    torch.set_num_threads(1)
    store = open_graph(config.graph)
    build_stream(config.loader, store, bind_tasks(config.tasks, store)).loader([0])


def main(out: Path, world_sizes: Sequence[int]) -> None:
    """Run the cases on each number of processes."""
    cases = json.loads((out / "cases.json").read_text())
    warm_caches(read(next(iter(cases.values()))["config"], []))
    for size in world_sizes:
        its = {n: case for n, case in cases.items() if size in case.get("world_sizes", [size])}
        run_forked(size, partial(run_rank, its, out))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(arg) for arg in sys.argv[2:]] or WORLD_SIZES)
