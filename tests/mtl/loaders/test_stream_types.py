"""The stream over several types of nodes and edges: one batch for the seeds of all tasks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask

NUM_USERS, NUM_ITEMS = 90, 40
BUYS, SOLD = ("user", "buys", "item"), ("item", "sold_to", "user")
TASKS = {
    "churn": {"type": "node_classification", "label": "churn", "node_type": "user"},
    "value": {"type": "node_regression", "label": "value", "node_type": "user"},
    "category": {"type": "node_classification", "label": "category", "node_type": "item"},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    folder: Path = tmp_path_factory.mktemp("graphs") / "shop"
    rng, writer = np.random.default_rng(0), GraphWriter(folder, name="shop")
    writer.add_nodes("user", NUM_USERS, rng.random((NUM_USERS, 3), np.float32))
    writer.add_nodes("item", NUM_ITEMS, rng.random((NUM_ITEMS, 5), np.float32))
    writer.add_label("user", "churn", "class", rng.integers(-1, 2, NUM_USERS), num_classes=2)
    writer.add_label("user", "value", "regression", rng.random(NUM_USERS))
    writer.add_label("item", "category", "class", rng.integers(4, size=NUM_ITEMS), num_classes=4)
    for kind, count in (("user", NUM_USERS), ("item", NUM_ITEMS)):
        writer.add_split(kind, "split", rng.integers(1, 4, count))
    users, items = rng.integers(NUM_USERS, size=200), rng.integers(NUM_ITEMS, size=200)
    writer.add_edges(BUYS, users, items)
    writer.add_edges(SOLD, items, users)
    writer.finish()
    return GraphStore(folder)


@pytest.fixture(scope="module")
def tasks(shop: GraphStore) -> dict[str, BoundTask]:
    return {name: Task.read(options).bind(name, shop) for name, options in TASKS.items()}


@pytest.fixture
def stream(shop, tasks):
    loader = Loader(num_neighbors=(3, 2), batch_size=10, global_batch_size=20)
    return build_stream(loader, shop, tasks, seed=3)


def epoch(stream):
    order = stream.order
    return list(stream.microbatches(range(order.steps_per_epoch * order.microbatches_per_step)))


def test_every_task_reads_its_own_labelled_rows_once_an_epoch(shop, tasks, stream):
    batches = epoch(stream)
    for name, task in tasks.items():
        parts = [(batch, batch[task.owner]) for batch in batches]
        read = np.concatenate([p.n_id[: p.batch_size][b.rows[name]] for b, p in parts])
        assert sorted(read) == task.seeds("train").tolist()
        labels = np.concatenate([batch.target[name] for batch in batches])
        assert np.array_equal(labels, shop.label(task.owner, task.label.name).values[read])


def test_one_batch_holds_seeds_of_both_types_in_proportion(tasks, stream):
    users = len(np.union1d(tasks["churn"].seeds("train"), tasks["value"].seeds("train")))
    items = len(tasks["category"].seeds("train"))
    for batch in epoch(stream)[:-2]:
        sizes = batch["user"].batch_size, batch["item"].batch_size
        assert abs(sizes[0] - sum(sizes) * users / (users + items)) <= 1


def test_features_are_those_of_the_sampled_nodes_of_each_type(shop, stream):
    batch = stream.loader([1])
    for kind in ("user", "item"):
        assert torch.equal(batch[kind].x, shop.features(kind)[batch[kind].n_id])


def test_the_edges_of_each_listed_destination_are_its_own(shop, stream):
    batch = stream.loader([1])
    for kind in (BUYS, SOLD):
        part, target = batch[kind], batch[kind[2]]
        col = part.listed[torch.repeat_interleave(part.colptr.diff())]
        assert torch.equal(col, part.edge_index[1])
        assert (part.colptr.diff() > 0).all()
        for hops, number in enumerate(part.num_listed):
            within = sum(target.num_sampled_nodes[:hops])
            assert (part.listed[:number] < within).all()
            assert (part.listed[number:] >= within).all()


def test_neighbours_are_drawn_by_edge_type_where_asked(shop, tasks):
    by_type = {"default": (1, 1), "user__buys__item": (-1, 2)}
    batch = build_stream(Loader(num_neighbors=by_type, batch_size=30), shop, tasks).loader([0])
    degree = np.diff(shop.csc(BUYS)[0])[batch["item"].n_id[: batch["item"].batch_size]]
    assert batch[BUYS].num_sampled_edges[0] == degree.sum()
    assert batch[SOLD].num_sampled_edges[0] <= batch["user"].batch_size


def test_an_unknown_edge_type_is_named_with_those_there_are(shop, tasks):
    loader = Loader(num_neighbors={"default": (1,), "user__buy__item": (2,)})
    with pytest.raises(ConfigError) as caught:
        build_stream(loader, shop, tasks)
    assert "loader.num_neighbors.user__buy__item: the graph has no such edge type" in str(
        caught.value
    )
    assert "did you mean 'user__buys__item'?" in str(caught.value)


def test_the_empty_microbatch_has_no_node_of_any_type(stream, tasks):
    batch = stream.loader([None])
    assert (batch.num_nodes, batch.num_edges, batch.number) == (0, 0, -1)
    assert all(len(batch.rows[name]) == len(batch.target[name]) == 0 for name in tasks)


@pytest.mark.parametrize("prefetch_bytes", [1, 1 << 30])
def test_batches_are_the_same_however_many_wait(shop, tasks, stream, prefetch_bytes):
    options = Loader(
        num_neighbors=(3, 2), batch_size=10, global_batch_size=20, prefetch_bytes=prefetch_bytes
    )
    other = build_stream(options, shop, tasks, seed=3)
    for one, two in zip(epoch(stream), epoch(other), strict=True):
        assert torch.equal(one["user"].n_id, two["user"].n_id)
