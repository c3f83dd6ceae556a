"""Whoever draws, all neighbours make the same batch, field by field; and it is the task's."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.residence import Table
from mtl.loaders.stream import build_stream
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks

LINKS = {"type": "link_prediction", "num_negatives": 2}
MASKED = {"type": "feature_reconstruction"}
CUSTOMERS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "likes": {**LINKS, "edge_type": "node__to__node"},
    "words": MASKED,
}
SHOPS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "buys": {**LINKS, "edge_type": "user__buys__item"},
    "back": {"type": "edge_classification", "edge_type": "user__buys__item", "label": "returned"},
    "who": {**MASKED, "node_type": "user"},
}
NUMBERS = [0, 3, None]
CPU = torch.device("cpu")


def stream_of(
    store: GraphStore, tasks: Mapping[str, Any], backend: str, device=CPU, exchange=None, **options
):
    bound = bind_tasks({name: Task.read(own) for name, own in tasks.items()}, store)
    loader = Loader(**{"num_neighbors": (3, 2), "batch_size": 24, "backend": backend, **options})
    reads = {"edge_features": True, "dtype": torch.bfloat16}
    return build_stream(loader, store, bound, seed=3, device=device, exchange=exchange, **reads)


def content(value: Any) -> Any:
    """Turn a batch, or a part of one, into plain values that compare."""
    if isinstance(value, Tensor):
        return str(value.dtype), value.shape, value.nan_to_num(-9).tolist()
    return {k: content(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def shapes(part: Any, device: str = "cpu") -> Any:
    """Return the shape of all tensors of a batch, which are on a device."""
    if isinstance(part, Tensor):
        assert part.device.type == device
        return part.dtype, part.shape
    items = part.to_dict() if hasattr(part, "to_dict") else part
    return {k: shapes(v, device) for k, v in items.items()} if isinstance(items, Mapping) else items


def batches(stream) -> list[Any]:
    return [content(batch.to_dict()) for batch in stream.microbatches(NUMBERS)]


@pytest.mark.parametrize("features", ["device", "host"])
@pytest.mark.parametrize(("graph", "tasks"), [("customers", CUSTOMERS), ("shops", SHOPS)])
def test_all_neighbours_make_the_same_batch(request, graph, tasks, features):
    store, every = request.getfixturevalue(graph), {"num_neighbors": (-1, -1)}
    numba = batches(stream_of(store, tasks, "numba", **every))
    assert batches(stream_of(store, tasks, "cuda", features=features, **every)) == numba


@pytest.mark.parametrize("features", ["device", "pinned", "host"])
@pytest.mark.parametrize(("graph", "tasks"), [("customers", CUSTOMERS), ("shops", SHOPS)])
def test_a_graph_that_processes_share_out_makes_the_batches_of_a_whole_one(
    request, on_all, graph, tasks, features
):
    store = request.getfixturevalue(graph)

    def batches_of(exchange):
        shared = {"edges": "sharded", "features": features, "exchange": exchange}
        stream = stream_of(store, tasks, "cuda", **shared)
        assert not stream._num_threads  # all ask in turn with all else that they exchange
        rank, size = exchange.rank, exchange.world_size
        mine = [None, *range(rank, 3 * size, size), None]  # others each time, as in training
        return dict(
            zip(mine, (content(b.to_dict()) for b in stream.microbatches(mine)), strict=True)
        )

    stream = stream_of(store, tasks, "cuda")
    for found in on_all(3, batches_of):
        assert found == {number: content(stream.loader([number]).to_dict()) for number in found}


def test_the_host_draws_the_same_of_its_map(shops):
    stream = stream_of(shops, SHOPS, "cuda", device=torch.device("meta"), edges="host")
    whole = stream_of(shops, SHOPS, "cuda").loader([0])
    assert content(stream.loader([0]).to_dict()) == content(whole.to_dict())
    assert not any(isinstance(its, Table) for its in stream.loader._features.values())


def test_edges_are_not_shared_with_nobody(shops):
    with pytest.raises(ConfigError, match=r"^loader\.edges: sharded.* take host"):
        stream_of(shops, SHOPS, "cuda", edges="sharded")


@pytest.mark.parametrize(("graph", "tasks"), [("customers", CUSTOMERS), ("shops", SHOPS)])
def test_what_is_drawn_follows_from_the_key_whoever_makes_it_and_when(request, graph, tasks):
    store = request.getfixturevalue(graph)
    ahead = batches(stream_of(store, tasks, "cuda"))
    stream, other = (stream_of(store, tasks, "cuda") for _ in range(2))
    alone = []
    for number in reversed(NUMBERS):
        other.loader([1])  # another call on the same graph
        alone.append(content(stream.loader([number]).to_dict()))
    assert alone[::-1] == ahead


@pytest.mark.parametrize(
    ("graph", "tasks", "waits"), [("customers", CUSTOMERS, 4), ("shops", SHOPS, 5)]
)
def test_a_batch_is_born_on_the_device_which_is_asked_for_numbers_twice_a_hop(
    request, monkeypatch, graph, tasks, waits
):
    """The device `meta` knows shapes alone: whoever asks for a value, or for the host, fails."""
    store, told, tolist = request.getfixturevalue(graph), [], Tensor.tolist
    cpu, meta = (stream_of(store, tasks, "cuda", device=torch.device(d)) for d in ("cpu", "meta"))
    monkeypatch.setattr(Tensor, "tolist", lambda numbers: told.append(tolist(numbers)) or told[-1])
    wanted = shapes(cpu.loader([0]))
    assert len(told) == waits
    monkeypatch.setattr(Tensor, "tolist", lambda _: told.pop(0))
    assert shapes(meta.loader([0]), "meta") == wanted


def test_shared_out_features_are_refused(customers, monkeypatch):
    monkeypatch.setattr(customers, "shards", object())
    with pytest.raises(ConfigError, match=r"^loader\.backend: cuda .* graph\.features: replicated"):
        stream_of(customers, {"segment": CUSTOMERS["segment"]}, "cuda")


@pytest.mark.parametrize("option", [{"weighted": True}, {"temporal": "last"}])
def test_what_the_sampler_does_not_know_is_refused(shops, option):
    churn = {"back": SHOPS["back"]}
    with pytest.raises(ConfigError, match=r"^loader\.backend: cuda .* take numba"):
        stream_of(shops, churn, "cuda", **option)


@pytest.mark.parametrize(("backend", "threads"), [("numba", 3), ("cuda", 1)])
def test_one_thread_asks_the_device(customers, backend, threads):
    tasks = {"segment": CUSTOMERS["segment"]}
    assert stream_of(customers, tasks, backend, num_threads=3)._num_threads == threads
