"""doctor: the training, built as job/train.py builds it; one batch of it, forward and backward."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn, optim

from job.config import JobConfig
from job.doctor_findings import Finding, problem
from job.doctor_job import NO_TASKS, NOT_BUILT, TOO_LARGE, WRONG, Job, UnknownError, known
from job.doctor_machine import gib
from job.evaluation import Evaluation
from job.hardware import choose_precision, peak_memory
from job.initial import set_up
from job.optim import build_optimizer
from job.placement import place
from job.rundir import resolve
from job.runtime import NonFiniteError, Runtime
from job.step import Stepper, warm_up
from mtl.errors import ConfigError
from mtl.loaders import message_types
from mtl.loaders.stream import Stream, build_stream
from mtl.models.multitask import build_model


@dataclass(frozen=True)
class Training:
    """What trains.

    Attributes:
        config: with the sizes that depend on the number of processes.
        runtime: of this one process.
        stream: of the training split.
        model: for this device.
        optimizer: of its weights.
        stepper: makes the gradient of a step.
    """

    config: JobConfig
    runtime: Runtime
    stream: Stream
    model: nn.Module
    optimizer: optim.Optimizer
    stepper: Stepper


def build(job: Job) -> Iterator[Finding]:
    """Build what trains as job/train.py does, in its order."""
    config = resolve(known(job.config, WRONG), job.nproc)
    known(job.weights, TOO_LARGE)
    tasks, store = known(job.tasks, NO_TASKS), known(job.store, NO_TASKS)
    options = config.train
    precision = choose_precision(options.precision, on_gpu=torch.cuda.is_available())
    yield Finding("{} ({})".format(*precision), what="precision")
    runtime = Runtime(options.precision, None, config.loader.num_threads)
    config, why = place(config, store, runtime, job.nproc)
    if why:
        yield Finding(why, what="sampler")
    loader = replace(config.loader, num_threads=runtime.threads.loader)
    if loader.edges == "sharded":
        loader = replace(loader, edges="host")  # one process looks: the same neighbours
    seed, encoder = config.run.seed, config.model.encoder
    stream = build_stream(
        loader,
        store,
        tasks,
        num_hops=encoder.num_hops,
        seed=seed,
        dtype=runtime.feature_dtype,
        edge_features=encoder.reads_edge_features,
        device=runtime.device,
    )
    torch.manual_seed(seed)
    edge_types = message_types(config.loader.num_neighbors, store.edge_types)
    module = build_model(config.model, store, tasks, edge_types)
    set_up(module, config)
    optimizer = build_optimizer(config.optim, module, runtime.device)
    model, optimizer = runtime.prepare(module, optimizer)
    warm_up(model, stream.loader([None]).to(runtime.device), runtime)
    policy = options.on_nonfinite
    stepper = Stepper(model, tasks, config.balancing, runtime, stream, seed, policy)
    job.training = Training(config, runtime, stream, model, optimizer, stepper)
    yield Finding(stepper.choose_memory() or config.balancing.type, what="balancing")


def evaluation(job: Job) -> Iterator[Finding]:
    """Whether both other splits can be evaluated, and `evaluate.select` is a metric."""
    training, tasks = known(job.training, NOT_BUILT), known(job.tasks, NO_TASKS)
    Evaluation(training.config, known(job.store, NO_TASKS), tasks, training.runtime)
    yield Finding(f"the best checkpoint is best in {training.config.evaluate.select}")


def batch(job: Job) -> Iterator[Finding]:
    """Sample the first batch; compute it forward and backward, twice: the first time compiles."""
    if not job.steps:
        raise UnknownError("--no-step")
    training = known(job.training, NOT_BUILT)
    try:
        _, first_seconds, edges = _step(training)
        finite, seconds, edges = _step(training)
    except torch.OutOfMemoryError as error:
        advice = "a smaller loader.batch_size, loader.num_neighbors or model.dim"
        yield problem(str(error).splitlines()[0], advice, ConfigError)
        return
    yield Finding(
        f"{edges:,} edges, {seconds:.2f} s (the first time {first_seconds:.2f} s); at most "
        f"{gib(peak_memory(training.runtime.device))} of this process so far"
    )
    if not finite:
        yield problem(
            "a loss or a gradient is not finite, before anything is learned",
            f"python job/train.py ... replay=1 shows where; train.precision is "
            f"{training.runtime.precision}",
            NonFiniteError,
        )


def _step(training: Training) -> tuple[bool, float, int]:
    """Make the gradient of the first microbatch; return whether it is finite, seconds, edges."""
    began = time.perf_counter()
    batch = training.stream.loader([0])
    batch.is_last = True
    for _ in training.stepper.backward(iter([batch]), 0):
        pass
    norm = training.runtime.clip(training.model, None)
    finite = bool(norm.isfinite()) or training.runtime.precision == "fp16"  # its scale is found yet
    training.optimizer.zero_grad()
    return finite, time.perf_counter() - began, batch.num_edges


TRAINING, STEP = (build, evaluation), (batch,)
