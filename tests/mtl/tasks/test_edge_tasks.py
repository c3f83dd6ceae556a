"""Tasks on edges and links: what a batch reads, and what it must never show."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.errors import ConfigError, DataError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._hiding import Hiding
from mtl.tasks._links import NO_PAIR
from mtl.tasks.losses import task_losses

BUYS, SOLD = ("user", "buys", "item"), ("item", "rev_buys", "user")
FRIEND = ("user", "friend", "user")
SPLITS = pytest.mark.parametrize("split", ["train", "val", "test"])


def stream_of(store, tasks, split="train", **options):
    loader = Loader(num_neighbors=(-1, -1), batch_size=40, **options)
    return build_stream(loader, store, tasks, split=split, seed=3)


def batches(stream):
    count = stream.order.steps_per_epoch * stream.order.microbatches_per_step
    return [(number, stream.loader([number])) for number in range(count)]


def ends_of(store, kind, edges):
    csc = store.topology().edges[kind]
    return set(zip(csc.row[edges].tolist(), csc.destination(edges).tolist(), strict=True))


@SPLITS
def test_edge_tasks_read_both_ends_features_and_labels_of_their_edges_once(
    mixed_shop, mixed, split
):
    stream, read = stream_of(mixed_shop, mixed, split), {"stars": [], "amount": []}
    csc, features = mixed_shop.topology().edges[BUYS], mixed_shop.edge_features(BUYS)
    for number, batch in batches(stream):
        for name, seen in read.items():
            edges = stream.loader.reads(number)[name]
            src, dst = batch.rows[name]
            assert batch["user"].n_id[src].tolist() == csc.row[edges].tolist()
            assert batch["item"].n_id[dst].tolist() == csc.destination(edges).tolist()
            assert torch.equal(batch.extra[name], features[edges])
            assert torch.equal(batch.target[name], mixed[name].targets(edges))
            seen.extend(edges.tolist())
    for name, seen in read.items():
        assert sorted(seen) == mixed[name].seeds(split).tolist()


@SPLITS
def test_no_scored_edge_nor_its_reverse_is_visible(mixed_shop, mixed, split):
    stream, scored = stream_of(mixed_shop, mixed, split), 0
    for number, batch in batches(stream):
        reads = stream.loader.reads(number)
        for name in ("stars", "amount"):  # the edge itself: its twin may be there
            assert not set(reads[name]) & set(batch[BUYS].e_id.tolist())
        for name, kinds in (("buys", (BUYS, SOLD)), ("friend", (FRIEND, FRIEND))):
            pairs = ends_of(mixed_shop, kinds[0], reads[name])
            back = {(dst, src) for src, dst in pairs}
            assert not pairs & ends_of(mixed_shop, kinds[0], batch[kinds[0]].e_id.numpy())
            assert not back & ends_of(mixed_shop, kinds[1], batch[kinds[1]].e_id.numpy())
            scored += len(pairs)
    assert scored > 15


@SPLITS
def test_held_out_links_carry_no_message_in_any_split(mixed_shop, mixed, split):
    for name, kinds in (("buys", (BUYS, SOLD)), ("friend", (FRIEND, FRIEND))):
        held = np.concatenate([mixed[name].seeds(part) for part in ("val", "test")])
        pairs = ends_of(mixed_shop, kinds[0], held)
        back = {(dst, src) for src, dst in pairs}
        for _, batch in batches(stream_of(mixed_shop, mixed, split)):
            assert not pairs & ends_of(mixed_shop, kinds[0], batch[kinds[0]].e_id.numpy())
            assert not back & ends_of(mixed_shop, kinds[1], batch[kinds[1]].e_id.numpy())
    (whole,) = (b for n, b in batches(stream_of(mixed_shop, mixed, split)) if n == 0)
    assert whole[FRIEND].num_edges > 50


def test_all_other_edges_are_there(mixed_shop, mixed):
    stream = stream_of(mixed_shop, {"stars": mixed["stars"]})
    _, batch = batches(stream)[0]
    degree = np.diff(mixed_shop.topology().edges[BUYS].colptr)
    items = batch["item"].n_id[: batch["item"].batch_size]
    hidden = mixed["stars"].hiding.hidden(stream.loader.reads(0)["stars"])[BUYS]
    at = mixed_shop.topology().edges[BUYS].destination(hidden)
    assert batch[BUYS].num_sampled_edges[0] == degree[items].sum() - np.isin(at, items).sum()


def test_an_undirected_edge_is_scored_once_and_split_with_its_other_direction(mixed_shop, mixed):
    task, csc = mixed["friend"], mixed_shop.topology().edges[FRIEND]
    seeds = np.concatenate([task.seeds(split) for split in ("train", "val", "test")])
    assert (csc.row[seeds] < csc.destination(seeds)).all()
    assert len(seeds) == len(csc.row) // 2
    first, last = csc.find(csc.destination(seeds), csc.row[seeds].astype(np.int64))
    assert (last - first == 1).all()
    assert np.array_equal(task.split[first], task.split[seeds])


@SPLITS
def test_negatives_are_no_edges_and_follow_from_their_edge_alone(mixed_shop, mixed, split):
    for name in ("buys", "friend"):
        task = mixed[name]
        seeds, csc = task.seeds(split), mixed_shop.topology().edges[task.owner]
        src, dst = task.pairs(seeds, split, key=5)
        assert np.array_equal(src[:, 0], csc.row[seeds])
        assert np.array_equal(dst[:, 0], csc.destination(seeds))
        known = csc.row.astype(int), csc.destination(np.arange(len(csc.row)))
        edges = set(zip(*map(np.ndarray.tolist, known), strict=True))
        if split == "train":
            held = np.flatnonzero(task.split >= 2)
            edges -= ends_of(mixed_shop, task.owner, held)
        wide = np.hstack([src, np.repeat(src[:, :1], dst.shape[1] - src.shape[1], 1)])
        negatives = list(
            zip(wide[:, 1:].ravel().tolist(), dst[:, 1:].ravel().tolist(), strict=True)
        )
        assert not edges & set(negatives)
        assert name == "buys" or all(a != b for a, b in negatives)
        part = task.pairs(seeds[3:7], split, key=5)
        assert np.array_equal(part.src, src[3:7])
        assert np.array_equal(part.dst, dst[3:7])
        other = task.pairs(seeds, split, key=6)
        assert np.array_equal(other.dst, dst) == (split != "train")
        if name == "friend":
            assert (src == src[:, :1]).all()


def test_every_epoch_draws_other_negatives_of_the_same_edge(mixed_shop, mixed):
    stream, drawn = stream_of(mixed_shop, {"buys": mixed["buys"]}), {}
    size = stream.order.steps_per_epoch * stream.order.microbatches_per_step
    for number in range(2 * size):
        batch, edges = stream.loader([number]), stream.loader.reads(number)["buys"]
        ends = batch["item"].n_id[batch.rows["buys"][1, :, 1]]
        for edge, end in zip(edges.tolist(), ends.tolist(), strict=True):
            drawn.setdefault(edge, []).append(end)
    assert {len(ends) for ends in drawn.values()} == {2}
    assert np.mean([first != second for first, second in drawn.values()]) > 0.8


def test_candidates_that_are_edges_are_left_out(mixed_shop, mixed):
    task = mixed["buys"]
    seeds = task.seeds("test")
    _, dst = task.pairs(seeds, "test", 0)
    left_out = (dst[:, 2:] == NO_PAIR).sum()
    assert 0 < left_out < dst[:, 2:].size / 2
    stream = stream_of(mixed_shop, mixed, "test")
    model = model_of(mixed_shop, mixed).eval()
    prediction = model(stream.loader([0]))["buys"]
    assert prediction.shape[1] == task.num_outputs
    assert torch.isinf(prediction[:, 2:]).any()
    assert torch.isfinite(prediction[:, :2]).all()


def test_a_node_with_an_edge_to_everybody_has_no_negative(tmp_path):
    writer = GraphWriter(tmp_path / "graph", name="star")
    writer.add_nodes("node", 12, np.ones((12, 1), np.float32))
    src, dst = np.nonzero(~np.eye(12, dtype=bool))
    writer.add_edges(("node", "to", "node"), src, dst)
    writer.finish()
    store = GraphStore(tmp_path / "graph")
    options = {"type": "link_prediction", "val_share": 0.3, "test_share": 0.3, "loss": "ranking"}
    task = Task.read(options).bind("all", store)
    with pytest.raises(
        DataError, match=r"tasks\.all: no negative can be drawn for edge .* of node__"
    ):
        task.pairs(task.seeds("test"), "test", 0)


@given(st.integers(0, 10**6), st.sampled_from(["edge", "relation", "pair"]), st.booleans())
def test_what_is_hidden_is_what_a_plain_search_finds(tmp_path_factory, seed, what, mutual):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("hide")
    writer = GraphWriter(folder / "graph", name="g")
    writer.add_nodes("a", 4)
    a, b = rng.integers(4, size=12), rng.integers(4, size=12)
    likes, back, knows = ("a", "likes", "a"), ("a", "liked", "a"), ("a", "knows", "a")
    if mutual:
        writer.add_edges(likes, np.hstack([a, b]), np.hstack([b, a]), reverse=likes)
    else:
        writer.add_edges(likes, a, b)
        writer.add_edges(back, b, a, reverse=likes)
    writer.add_edges(knows, rng.integers(4, size=9), rng.integers(4, size=9))
    writer.finish()
    store = GraphStore(folder / "graph")
    scored = rng.choice(len(store.csc(likes)[1]), 3, replace=False)
    found = Hiding(store, likes, what).hidden(scored)
    pairs, reverse = ends_of(store, likes, scored), store.reverse(likes)
    turned = {(y, x) for x, y in pairs}
    for kind, csc in store.topology().edges.items():
        mine = set(found.get(kind, np.empty(0)).tolist())
        every = zip(
            csc.row.tolist(), csc.destination(np.arange(len(csc.row))).tolist(), strict=True
        )
        touched = {
            e
            for e, pair in enumerate(every)
            if (pair in pairs and (kind == likes or what == "pair"))
            or (pair in turned and (kind == reverse or what == "pair"))
        }
        assert mine <= touched
        if what != "edge":
            assert mine == touched
        elif not mutual:
            assert len(mine) == (3 if kind in (likes, reverse) else 0)
            assert kind != likes or mine == set(scored)


def model_of(store, tasks, sharing="hard"):
    torch.manual_seed(0)
    options = Encoder.read({"type": "sage", "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": sharing}), dim=8)
    return build_model(model, store, tasks).double()


@pytest.mark.parametrize("sharing", ["hard", "mimo"])
@pytest.mark.parametrize("names", [["stars"], ["buys", "churn"], ["friend"], None])
def test_every_weight_gets_a_gradient_and_an_empty_batch_gives_none(
    mixed_shop, mixed, sharing, names
):
    tasks = {name: mixed[name] for name in names or mixed}
    model, stream = model_of(mixed_shop, tasks, sharing), stream_of(mixed_shop, tasks)
    task_losses(model(stream.loader([None])), stream.loader([None]), tasks).sum().backward()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for _, p in trained)
    for _, batch in batches(stream):
        task_losses(model(batch), batch, tasks).sum().backward()
    assert not [n for n, p in trained if not p.grad.any()]


WRONG = {
    "edge type": (
        {"type": "link_prediction", "edge_type": "user__buy__item"},
        r"tasks\.t\.edge_type: expected one of .*found 'user__buy__item'; did you mean 'user__b",
    ),
    "no edge type": ({"type": "link_prediction"}, r"tasks\.t\.edge_type: expected one of .*None"),
    "label": (
        {"type": "edge_regression", "edge_type": "user__buys__item", "label": "stars"},
        r"tasks\.t\.label: 'stars' is a class label, edge_regression needs .*: amount\)",
    ),
    "split": (
        {"type": "link_prediction", "edge_type": "user__buys__item", "split": "s"},
        r"tasks\.t\.split: expected one of split, found 's'",
    ),
    "shares": (
        {"type": "link_prediction", "edge_type": "user__buys__item", "val_share": 0.95},
        r"tasks\.t\.val_share: with test_share it must stay below 1",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_task_that_does_not_fit_is_refused(mixed_shop, wrong):
    options, message = WRONG[wrong]
    with pytest.raises(ConfigError, match=message):
        Task.read(options).bind("t", mixed_shop)


def test_a_named_split_of_edges_is_taken(mixed_shop):
    options = {"type": "link_prediction", "edge_type": ["user", "buys", "item"], "split": "split"}
    task = Task.read(options).bind("t", mixed_shop)
    assert np.array_equal(task.split, mixed_shop.split(BUYS))
