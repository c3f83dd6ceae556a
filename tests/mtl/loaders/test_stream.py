"""The stream: the same batches whatever makes them, with the rows and labels each task reads."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mtl.errors import ConfigError, DataError
from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.samplers.numba import NumbaSampler
from mtl.loaders.seeds import SeedOrder
from mtl.loaders.stream import MicrobatchLoader, Stream, build_stream
from mtl.tasks.bound import SPLITS, BoundTask

Tasks = dict[str, BoundTask]
OPTIONS = {"num_neighbors": (4, 3), "batch_size": 16, "global_batch_size": 40}


@pytest.fixture
def stream(customers: GraphStore, tasks: Tasks) -> Stream:
    return build_stream(Loader(**OPTIONS), customers, tasks, seed=3)


def content(value: Any) -> Any:
    """Turn a batch, or a part of one, into plain values that compare."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.nan_to_num(-9).tolist()
    return {k: content(v) for k, v in value.items()} if isinstance(value, Mapping) else value


@pytest.mark.parametrize(("num_threads", "prefetch"), [(1, 9), (3, 1), (4, 8)])
def test_batches_are_the_same_whatever_threads_and_prefetch(
    stream, customers, tasks, num_threads, prefetch
):
    numbers = [5, None, *range(12), 5]
    options = Loader(**OPTIONS, num_threads=num_threads, prefetch=prefetch)
    other = build_stream(options, customers, tasks, seed=3)
    expected = [content(batch.to_dict()) for batch in stream.microbatches(numbers)]
    assert [b["number"] for b in expected] == [-1 if n is None else n for n in numbers]
    assert [content(batch.to_dict()) for batch in other.microbatches(numbers)] == expected


def test_another_seed_has_other_batches(stream, customers, tasks):
    other = build_stream(Loader(**OPTIONS), customers, tasks, seed=4)
    assert content(other.loader([0]).n_id) != content(stream.loader([0]).n_id)


def test_every_epoch_draws_other_neighbours_of_the_same_seed(customers, tasks):
    options = Loader(num_neighbors=(2,), batch_size=1, global_batch_size=1)
    stream = build_stream(options, customers, tasks, num_hops=1)
    size, drawn = stream.order.steps_per_epoch, {}
    for batch in stream.microbatches(range(3 * size)):
        seed, edges = int(batch.n_id[0]), batch.e_id.tolist()
        drawn.setdefault(seed, set()).add(tuple(edges))
    degree = np.diff(customers.csc(customers.edge_types[0])[0])
    several = [len(its) > 1 for seed, its in drawn.items() if degree[seed] > 4]
    assert len(several) > 50
    assert np.mean(several) > 0.9  # of 10 pairs or more three draws are seldom the same


def test_an_error_in_a_loader_thread_reaches_the_caller_in_its_turn(stream, customers, tasks):
    class Breaking(NumbaSampler):
        def sample(self, seeds, key, **options):
            if key == 3:
                raise DataError("the disk went away")
            return super().sample(seeds, key, **options)

    sampler = Breaking(customers.topology(), (4, 3))
    loader = MicrobatchLoader(customers, tasks, sampler, stream.order, "train")
    batches = Stream(loader, num_threads=2, prefetch=4).microbatches(range(20))
    assert [next(batches).number for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="the disk went away"):
        next(batches)


@pytest.mark.parametrize("split", SPLITS)
def test_every_task_reads_its_own_labelled_rows_once_an_epoch(customers, tasks, split):
    stream = build_stream(Loader(**OPTIONS), customers, tasks, split=split)
    number = stream.order.steps_per_epoch * stream.order.microbatches_per_step
    batches = list(stream.microbatches(range(number)))
    for name, task in tasks.items():
        read = np.concatenate([b.n_id[: b.batch_size][b.rows[name]] for b in batches])
        assert sorted(read) == task.seeds(split).tolist()
        labels = np.concatenate([batch.target[name] for batch in batches])
        assert np.array_equal(labels, customers.label("node", task.label.name).values[read])


def test_num_targets_are_the_losses_of_the_whole_step(stream, tasks):
    for _, microbatches in stream.steps(0, stream.order.steps_per_epoch):
        counted, batches = Counter(), list(microbatches)
        for batch in batches:
            for name, task in tasks.items():
                counted[name] += task.task.count(batch.target[name].numpy(), task.statistics)
        assert all(batch.num_targets == dict(counted) for batch in batches)


def test_features_and_degrees_are_those_of_the_sampled_nodes(stream, customers):
    batch = stream.loader([2])
    colptr, _ = customers.csc(customers.edge_types[0])
    assert torch.equal(batch.x, customers.features("node")[batch.n_id])
    assert torch.equal(batch.in_degree, torch.from_numpy(np.diff(colptr))[batch.n_id])


def test_the_seeds_of_a_batch_are_those_of_the_order(stream):
    for number in range(9):
        batch = stream.loader([number])
        (seeds,) = stream.order.microbatch(number).values()
        assert batch.n_id[: batch.batch_size].tolist() == seeds.tolist()


def test_the_empty_microbatch_has_no_node_and_no_label(stream, tasks):
    batch = stream.loader([None])
    assert (batch.num_nodes, batch.num_edges, batch.batch_size, batch.number) == (0, 0, 0, -1)
    assert batch.x.shape == (0, 8)
    assert all(len(batch.rows[name]) == len(batch.target[name]) == 0 for name in tasks)
    assert batch.num_targets == dict.fromkeys(tasks, 0)


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_ranks_share_the_microbatches_and_mark_the_last_of_a_step(stream, world_size):
    steps = [
        (step, [(batch.number, batch.is_last) for batch in batches])
        for rank in range(world_size)
        for step, batches in stream.steps(1, 3, rank, world_size)
    ]
    assert [step for step, _ in steps] == [1, 2] * world_size
    numbers = sorted(n for _, batches in steps for n, _ in batches if n >= 0)
    assert numbers == list(range(3, 9))
    for _, batches in steps:
        assert [is_last for _, is_last in batches] == [False] * (len(batches) - 1) + [True]


def test_the_step_defaults_to_a_batch_for_each_process(customers, tasks):
    sizes = [
        build_stream(Loader(batch_size=16), customers, tasks, world_size=w).order.size(0)
        for w in (1, 3)
    ]
    assert sizes == [16, 48]


def test_a_stream_can_be_left_in_the_middle(stream):
    batches = stream.microbatches(range(100))
    next(batches)
    batches.close()
    assert isinstance(stream.order, SeedOrder)
    assert next(stream.microbatches([7])).number == 7


def test_the_first_batches_show_how_many_may_wait(customers, tasks, stream):
    made: list[int] = []

    class Counting(MicrobatchLoader):
        def collate_fn(self, index):
            made.append(index[0])
            return super().collate_fn(index)

    loader = Counting(customers, tasks, stream.loader.node_sampler, stream.order, "train")
    batches = Stream(loader, num_threads=1, prefetch=8, prefetch_bytes=1).microbatches(range(20))
    next(batches)
    assert len(made) <= 3
    batches.close()


def test_a_group_that_no_task_has_cannot_have_a_rate(customers, tasks):
    with pytest.raises(ConfigError, match=r"^loader\.rates\.nod: no task has such seeds; did you"):
        build_stream(Loader(rates={"nod": 0.5}), customers, tasks)
