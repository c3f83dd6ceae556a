"""doctor: whether batches fit the splits and the processes, and all of it the memory."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import psutil

from job.doctor_findings import Finding, warning
from job.doctor_job import NO_TASKS, NOT_BUILT, TOO_LARGE, Job, known
from job.doctor_machine import gib
from job.doctor_training import Training
from job.doctor_weights import process_bytes
from job.plan import describe_plan
from mtl.graphs._memory import memory_bytes
from mtl.graphs.store import GraphStore
from mtl.loaders import DEFAULT, NumNeighbors
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask


def batches(job: Job) -> Iterator[Finding]:
    """Whether steps and microbatches suit the split, the processes and the schedule."""
    training = known(job.training, NOT_BUILT)
    config, order = training.config, training.stream.order
    loader, num_steps = config.loader, config.train.epochs * order.steps_per_epoch
    yield Finding(describe_plan(order, known(job.tasks, NO_TASKS)))
    if order.global_batch_size > order.num_seeds:
        yield warning(
            f"loader.global_batch_size is {order.global_batch_size:,}, and there are "
            f"{order.num_seeds:,} training seeds: one step an epoch",
            "a smaller loader.global_batch_size",
        )
    if loader.batch_size > order.global_batch_size:
        yield warning(
            f"loader.batch_size is {loader.batch_size:,}, and a step has "
            f"{order.global_batch_size:,} seeds",
            "loader.batch_size, at most loader.global_batch_size",
        )
    if idle := -order.microbatches_per_step % job.nproc:
        yield warning(
            f"a step has {order.microbatches_per_step} microbatches for {job.nproc} processes: "
            f"{idle} of them wait in its last round",
            f"a loader.global_batch_size that is a multiple of {job.nproc} x loader.batch_size",
        )
    if config.optim.warmup_steps >= num_steps:
        yield warning(
            f"optim.warmup_steps is {config.optim.warmup_steps:,}, and the training has "
            f"{num_steps:,} steps: it never comes to optim.lr",
            "fewer warm-up steps, or more epochs",
        )


def batch_memory(job: Job) -> Iterator[Finding]:
    """Features of the largest batch that there may be, beside all that is kept."""
    training, store = known(job.training, NOT_BUILT), known(job.store, NOT_BUILT)
    nodes = node_bound(training, store, known(job.tasks, NO_TASKS))
    size = sum(nodes[kind] * _row_bytes(training, store, kind) for kind in nodes)
    needed, allowed = size + known(job.weights, TOO_LARGE).kept, process_bytes(job)
    words = (
        f"at most {nodes.total():,} nodes, {gib(size)} of features, and what layers make of them"
    )
    if needed > allowed:
        yield warning(
            f"{words}: with the model {gib(needed)}, each process has {gib(allowed)}",
            "a smaller loader.batch_size or loader.num_neighbors, or fewer processes",
        )
    else:
        yield Finding(words)


def graph_memory(job: Job) -> Iterator[Finding]:
    """Whether the pages of the graph stay in memory."""
    store = known(job.store, NOT_BUILT)
    size = sum(array.num_bytes for array in store.info.arrays())
    free = min(psutil.virtual_memory().available, memory_bytes())
    words = f"{gib(size)} are mapped, once for all processes; {gib(free)} are free"
    if size > free:
        yield warning(
            f"{words}: the rest is read again and again", "a fast local disk, more memory"
        )
    else:
        yield Finding(words)


def node_bound(
    training: Training, store: GraphStore, tasks: Mapping[str, BoundTask]
) -> Counter[str]:
    """Return how many nodes of each type a microbatch has at most.

    Of no type more than there are, except where each seed sees nodes at a time of its own.
    """
    options, order = training.config.loader, training.stream.order
    new: Counter[str] = Counter()
    for group, size in order.sizes.items():
        # groups are interleaved: a microbatch has one seed more of some than their share, at most
        number = 1 - (-options.batch_size * size // max(order.num_seeds, 1))
        new += Counter({kind: number * n for kind, n in _asked(group, tasks).items()})
    most = Counter({kind: store.num_nodes(kind) for kind in store.node_types})
    caps = most if options.temporal is None else Counter(dict.fromkeys(most, 1 << 62))
    total = new = new & caps
    for hop in range(training.config.model.encoder.num_hops):
        drawn: Counter[str] = Counter()
        for edge_type in store.edge_types:
            source, _, destination = edge_type
            k = _fan_out(options.num_neighbors, "__".join(edge_type), hop)
            drawn[source] += new[destination] * (most[source] if k < 0 else k)
        new = drawn & caps
        total = (total + new) & caps
    return total


def _asked(group: str, tasks: Mapping[str, BoundTask]) -> Counter[str]:
    """Return how many nodes of each type a seed of a group brings at most."""
    seeds: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for task in (task for task in tasks.values() if task.group == group):
        ends = Counter(task.node_types)
        if isinstance(task, BoundLinks):  # each draws negatives of its own
            pairs += Counter({kind: n * (1 + task.task.num_negatives) for kind, n in ends.items()})
        elif task.graph_ptr is not None:
            seeds |= Counter({kind: int(np.diff(task.graph_ptr).max(initial=0)) for kind in ends})
        else:
            seeds |= ends
    return seeds + pairs


def _fan_out(num_neighbors: NumNeighbors, edge_type: str, hop: int) -> int:
    if not isinstance(num_neighbors, dict):
        return num_neighbors[hop]
    return num_neighbors.get(edge_type, num_neighbors[DEFAULT])[hop]


def _row_bytes(training: Training, store: GraphStore, node_type: str) -> int:
    features = store.features(node_type)
    if features is None:
        return 0
    dtype = training.runtime.feature_dtype or features.dtype
    return features.size(1) * dtype.itemsize


SIZES = (batches, batch_memory, graph_memory)
