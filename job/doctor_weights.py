"""doctor: what the model takes, counted without taking it: weights, gradients, moments.

A process that asks for too much is killed by the system, and could report nothing any more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from job.config import JobConfig, Optim
from job.doctor_findings import Finding, problem
from job.doctor_job import NO_TASKS, WRONG, Job, known
from job.doctor_machine import gib
from job.initial import freeze
from job.plan import describe_parameters, num_parameters
from mtl.errors import ConfigError
from mtl.graphs._memory import memory_bytes
from mtl.loaders import message_types
from mtl.models.multitask import build_model

MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}
"""Numbers that an optimizer keeps for each weight."""


@dataclass(frozen=True)
class Weights:
    """Bytes of a model on one process: all that it holds, of that what is trained, and moments."""

    held: int
    trained: int
    moments: int

    @property
    def checkpoint(self) -> int:
        """Size of one checkpoint, but for the memory of the balancing."""
        return self.held + self.moments

    @property
    def kept(self) -> int:
        """Memory that the training keeps: what is trained has a gradient, too."""
        return self.held + self.trained + self.moments


def weights(job: Job) -> Iterator[Finding]:
    """Build the model on torch's device without memory."""
    config = known(job.config, WRONG)
    tasks, store = known(job.tasks, NO_TASKS), known(job.store, NO_TASKS)
    edge_types = message_types(config.loader.num_neighbors, store.edge_types)
    with torch.device("meta"):
        model = build_model(config.model, store, tasks, edge_types)
    freeze(model, config.model.freeze)
    held = sum(_size(tensor, config) for tensor in model.state_dict().values())
    trained = sum(_size(p, config) for p in model.parameters() if p.requires_grad)
    found = Weights(held, trained, _num_moments(config.optim) * trained)
    yield Finding(describe_parameters(num_parameters(model)), what="model")
    allowed = process_bytes(job)
    words = f"{gib(held)}, gradients {gib(trained)}, optimizer {gib(found.moments)}"
    if found.kept > allowed:
        advice = "a smaller model.dim, fewer processes; num_buckets or features for the nodes"
        yield problem(f"{words}; each process has {gib(allowed)}", advice, ConfigError)
    else:
        job.weights = found
        yield Finding(words)


def process_bytes(job: Job) -> int:
    """Return the memory of the GPU, or the share of one process in that of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    return memory_bytes() // job.nproc


def _size(tensor: Tensor, config: JobConfig) -> int:
    wide = tensor.is_floating_point() and config.train.precision == "fp64"
    return tensor.numel() * (8 if wide else tensor.itemsize)


def _num_moments(options: Optim) -> int:
    without = options.algorithm == "sgd" and not options.momentum
    return 0 if without else MOMENTS[options.algorithm]


WEIGHTS = (weights,)
