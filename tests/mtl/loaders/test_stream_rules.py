"""Options of the `loader:` section that say which neighbours may be drawn, seen in batches."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.tasks import Task

NUM_USERS, NUM_ITEMS, NUM_EDGES = 60, 25, 600
BUYS, SOLD = ("user", "buys", "item"), ("item", "sold_to", "user")


TASKS = {
    "churn": {"type": "node_classification", "label": "churn", "node_type": "user"},
    "category": {"type": "node_classification", "label": "category", "node_type": "item"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    """Users with a time buy items without one; half of the purchases count nothing."""
    folder: Path = tmp_path_factory.mktemp("graphs") / "shop"
    rng, writer = np.random.default_rng(0), GraphWriter(folder, name="shop")
    writer.add_nodes("user", NUM_USERS, time=rng.integers(100, size=NUM_USERS))
    writer.add_nodes("item", NUM_ITEMS)
    for kind, label, number in (("user", "churn", NUM_USERS), ("item", "category", NUM_ITEMS)):
        writer.add_label(kind, label, "class", rng.integers(2, size=number), num_classes=2)
        writer.add_split(kind, "split", rng.integers(1, 4, number))
    src, dst = rng.integers(NUM_USERS, size=NUM_EDGES), rng.integers(NUM_ITEMS, size=NUM_EDGES)
    values = {"time": rng.integers(100, size=NUM_EDGES), "weight": rng.integers(2, size=NUM_EDGES)}
    writer.add_edges(BUYS, src, dst, **values)
    writer.add_edges(SOLD, dst, src, **values)
    writer.finish()
    return GraphStore(folder)


def batches(
    store: GraphStore, split: str = "train", tasks: tuple[str, ...] = ("churn",), **options
):
    """Return all microbatches of a split, one hop for each of two."""
    bound = {name: Task.read(TASKS[name]).bind(name, store) for name in tasks}
    loader = Loader(num_neighbors=(4, 3), batch_size=8, **options)
    stream = build_stream(loader, store, bound, split=split)
    return list(stream.microbatches(range(stream.order.steps_per_epoch)))


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("temporal", ["uniform", "last"])
def test_no_seed_sees_what_came_after_it(store, temporal, split):
    edges = 0
    for batch in batches(store, split, temporal=temporal):
        user, item = batch["user"], batch["item"]
        seed_time = torch.from_numpy(store.time("user"))[user.n_id[: user.batch_size]]
        assert (torch.from_numpy(store.time("user"))[user.n_id] <= seed_time[user.batch]).all()
        for kind, tree in ((BUYS, item.batch), (SOLD, user.batch)):
            time = torch.from_numpy(store.topology().edges[kind].time)[batch[kind].e_id]
            assert (time <= seed_time[tree[batch[kind].edge_index[1]]]).all()
            edges += len(time)
    assert edges > 100


def test_an_edge_of_weight_0_is_never_drawn(store):
    for kind in (BUYS, SOLD):
        weight = torch.from_numpy(store.topology().edges[kind].weight)
        drawn = torch.cat([weight[batch[kind].e_id] for batch in batches(store, weighted=True)])
        assert len(drawn) > 50
        assert (drawn == 1).all()


def test_with_replacement_every_node_that_has_neighbours_draws_as_many_as_asked(store):
    for batch in batches(store, replace=True):
        degrees = batch[SOLD].colptr.diff()[: batch[SOLD].num_listed[1]]
        assert (degrees == 4).all()


def test_seeds_are_looked_at_as_of_the_moment_of_their_split(store):
    moments = {"train": 10, "val": 50, "test": 99}
    for split, moment in moments.items():
        latest = -1
        for batch in batches(
            store, split, ("churn", "category"), temporal="last", seed_time=moments
        ):
            for kind in (BUYS, SOLD):
                time = store.topology().edges[kind].time[batch[kind].e_id]
                latest = max(latest, time.max(initial=-1))
        assert moment - 10 < latest <= moment


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"train": 1, "val": 2, "test": 3}, {"train": 1, "val": 2, "test": 3}),
        (
            {"train": "1970-01-02", "val": "1970-01-01T00:00:01", "test": 3},
            {"train": 86_400_000_000, "val": 1_000_000, "test": 3},
        ),
        ({"train": 1}, "must be a mapping with train, val and test"),
        ({"train": 1, "val": "soon", "test": 3}, "val must be a date or a whole number"),
    ],
)
def test_moments_are_whole_numbers_or_dates(given, read):
    reads = TypeAdapter(Loader)
    options = json.dumps({"temporal": "last", "seed_time": given})
    if isinstance(read, str):
        with pytest.raises(ValidationError, match=read):
            reads.validate_json(options)
    else:
        assert reads.validate_json(options).seed_time == read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_time": {"train": 1, "val": 2, "test": 3}}, "loader.seed_time: given, but"),
        ({"temporal": "last", "replace": True}, "loader.temporal: last takes the latest"),
        (
            {"temporal": "uniform", "tasks": ("churn", "category")},
            "loader.temporal: the seeds of tasks.category need a time, and item has none",
        ),
    ],
)
def test_what_the_graph_cannot_do_is_refused(store, options, message):
    with pytest.raises(ConfigError) as caught:
        batches(store, **options)
    assert message in str(caught.value)


def test_weights_that_there_are_not_are_refused_by_the_name_of_the_option(customers, tasks):
    with pytest.raises(ConfigError, match=r"^loader\.weighted: no edge of the graph has a weight"):
        build_stream(Loader(weighted=True), customers, tasks)
