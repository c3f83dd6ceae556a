"""A training of ours on one device, taken apart: whole steps, then each part of a step alone.

usage: python benchmarks/_device_step.py CASE.json OUT.json

Where there is a GPU it runs there, else on the CPU: the same lines.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from _ceilings import ceilings, seconds, wait
from torch_geometric.data import Data

from job.hardware import device_name, peak_memory
from job.meter import Meter
from job.optim import build_optimizer
from job.runtime import Runtime
from job.step import Stepper, warm_up
from mtl.balancing import Balancing
from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders.sage import Sage
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing.hard import Hard
from mtl.tasks.bound import bind_tasks
from mtl.tasks.node_classification import NodeClassification

from job.config import Optim  # isort: skip  # after torch

FOR_EVER = 1_000_000
WARM_UP = 3


class Training:
    """Model, tasks, and batches ahead of them.

    Args:
        case: graph, num_neighbors, batch_size, dim, num_tasks, whether layers are compiled, and
            balancings by name.
        runtime: the device.
    """

    def __init__(self, case: Mapping[str, Any], runtime: Runtime) -> None:
        self.runtime, store = runtime, GraphStore(Path(case["graph"]))
        names = range(case["num_tasks"])
        tasks = bind_tasks({f"t{i}": NodeClassification(label=f"y{i}") for i in names}, store)
        hops = tuple(case["num_neighbors"])
        size = case["batch_size"]
        options = Loader(
            num_neighbors=hops, batch_size=size, global_batch_size=size, backend="cuda"
        )
        self.stream = build_stream(
            options, store, tasks, dtype=runtime.feature_dtype, device=runtime.device
        )
        torch.manual_seed(0)
        encoder = Sage(num_layers=len(hops), dropout=0.0)
        self.module = build_model(
            Model(encoder=encoder, sharing=Hard(), dim=case["dim"]), store, tasks
        )
        if case["compiled"]:
            self.module.bottom.compile_training()
        optimizer = build_optimizer(Optim(algorithm="adam"), self.module, runtime.device)
        self.model, self.optimizer = runtime.prepare(self.module, optimizer)
        warm_up(self.model, self.stream.loader([None]).to(runtime.device), runtime)
        self.steppers = {
            name: Stepper(self.model, tasks, Balancing.read(tree), runtime, self.stream, seed=0)
            for name, tree in case["balancings"].items()
        }
        self.meter = Meter(runtime, list(tasks))

    def step(self, stepper: Stepper, batches: Iterator[Data], number: int) -> None:
        """Make a step as job/train.py does."""
        for batch, losses in stepper.backward(batches, number):
            self.meter.add(losses, batch)
        norm = self.runtime.clip(self.model, None)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.meter.close(number + 1, norm, self.stream.order.size(number))


def whole_steps(training: Training, rounds: int, num_steps: int) -> dict[str, float]:
    """Return the seconds of a step under each balancing, which take turns; batches come ahead."""
    device, taken = training.runtime.device, {name: [] for name in training.steppers}
    with_batches = training.stream.steps(0, FOR_EVER)
    for turn in range(rounds + 1):
        for name, stepper in training.steppers.items():
            wait(device)
            start = perf_counter()
            for number, batches in islice(with_batches, num_steps if turn else WARM_UP):
                training.step(stepper, batches, number)
            wait(device)
            if turn:
                taken[name].append((perf_counter() - start) / num_steps)
    with_batches.close()
    return {name: median(its) for name, its in taken.items()}


def parts(training: Training, batch: Data) -> dict[str, float]:
    """Return the seconds of the sampler, of the loader that it is part of, and of all the rest."""
    stream, device, numbers = training.stream, training.runtime.device, count()
    stepper = next(iter(training.steppers.values()))

    def sample() -> object:
        number = next(numbers)
        return stream.loader.node_sampler.sample(stream.order.microbatch(number), number)

    runs: dict[str, Callable[[], object]] = {
        "sampling": sample,
        "loader": lambda: stream.loader([next(numbers)]),
        "model": lambda: training.step(stepper, iter([batch]), 0),
    }
    return {name: seconds(run, device) for name, run in runs.items()}


def waits(training: Training, batch: Data) -> str:
    """Say where a step waits for the GPU, by torch's own account; of the CPU there is none."""
    if training.runtime.device.type != "cuda":
        return "not looked at"
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(next(iter(training.steppers.values())), iter([batch]), 0)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "nowhere"


def launches(run: Callable[[], object], device: torch.device) -> int:
    """Return how many kernels a GPU runs; of a CPU, how many operations are asked for."""
    with torch.profiler.profile() as profile:
        run()
        wait(device)
    events = profile.events() or []
    if device.type == "cuda":
        return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in events)
    called = [event for event in events if event.name.startswith("aten::")]
    return sum(event.cpu_parent not in called for event in called)


def distance_to_cpu(training: Training, batch: Data) -> float:
    """Return how far predictions in float32 are from those of the CPU, of the largest one."""
    with torch.no_grad():
        # not as prepared, which has autocast in it
        here = MultiTaskModel.forward(training.module, batch)["t0"].cpu()
        alone = deepcopy(training.module).cpu()
        there = MultiTaskModel.forward(alone, copy(batch).cpu())["t0"]
    return float((here - there).abs().max() / there.abs().max())


def main(case: Path, out: Path) -> None:
    """Measure, and write what was found."""
    wish = json.loads(case.read_text())
    with Runtime(wish["precision"]) as runtime:
        training = Training(wish, runtime)
        batch = training.stream.loader([0])
        batch.is_last = True
        features, device = batch.x, runtime.device
        stepper = next(iter(training.steppers.values()))
        found = {
            "device": device_name(runtime.device),
            "precision": runtime.precision,
            "step": whole_steps(training, wish["rounds"], wish["num_steps"]),
            "parts": parts(training, batch),
            "peak_bytes": peak_memory(runtime.device),
            "waits": waits(training, batch),
            "launches": launches(lambda: training.step(stepper, iter([batch]), 0), device),
            "loader_launches": launches(lambda: training.stream.loader([1]), device),
            "distance": distance_to_cpu(training, batch),
            "batch": {
                "nodes": batch.num_sampled_nodes,
                "edges": batch.num_sampled_edges,
                "num_features": features.shape[1],
                "dim": wish["dim"],
                "num_weights": sum(p.numel() for p in training.module.parameters()),
                "itemsize": 2 if runtime.precision == "bf16" else 4,
            },
        }
        rates = ceilings(runtime.device, features.shape[1], features.dtype, quick=wish["quick"])
        out.write_text(json.dumps({**found, "ceilings": asdict(rates)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
