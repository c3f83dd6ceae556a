"""The card says what a graph holds and warns of what is likely to be a mistake, and of no more."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter

KNOWS, LIKES, LIKED_BY = ("a", "knows", "a"), ("a", "likes", "b"), ("b", "liked_by", "a")
NUM = 400


@pytest.fixture
def warned(tmp_path: Path) -> Callable[..., list[str]]:
    """The warnings of a graph of one node type in a ring, with features, labels and a split."""

    def warned(
        labels=(), features=None, split=None, src=None, dst=None, edge_labels=(), **edges
    ) -> list[str]:
        writer, ring = GraphWriter(tmp_path / "graph", name="ring"), np.arange(NUM)
        writer.add_nodes("a", NUM, features)
        for name, kind, values in labels:
            top = values.shape[1] if kind == "multilabel" else 5 if kind == "class" else 1
            writer.add_label("a", name, kind, values, num_classes=top)
        parts = np.resize([1, 1, 2, 3], NUM) if split is None else split
        writer.add_split("a", "random", parts)
        writer.add_edges(
            KNOWS, ring if src is None else src, np.roll(ring, 1) if dst is None else dst, **edges
        )
        for name, kind, values in edge_labels:
            writer.add_label(KNOWS, name, kind, values, num_classes=2 if kind == "class" else 1)
        writer.finish()
        return GraphStore(tmp_path / "graph").card()["warnings"]

    return warned


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_sound_graph_has_no_warnings(warned, rng):
    labels = [
        ("topic", "class", rng.integers(5, size=NUM)),
        ("tags", "multilabel", rng.integers(2, size=(NUM, 3))),
        ("value", "regression", rng.normal(size=NUM)),
    ]
    assert warned(labels, rng.normal(size=(NUM, 7)).astype(np.float32)) == []


def test_the_marketplace_is_sound_but_for_what_nobody_bought():
    store = open_graph(Marketplace(num_users=1000, num_items=300, num_shops=10))
    assert all("that no edge leads to" in sentence for sentence in store.card()["warnings"])


def test_the_card_is_plain_json(warned, tmp_path, rng):
    warned([("value", "regression", rng.normal(size=NUM))])
    card = GraphStore(tmp_path / "graph").card()
    assert json.loads(json.dumps(card)) == card


def test_duplicates_and_self_loops_are_warned_of(warned):
    src, dst = (
        np.append(np.arange(NUM), [0, 5, 7]),
        np.append(np.roll(np.arange(NUM), 1), [399, 5, 7]),
    )
    assert warned(src=src, dst=dst) == [
        "a__knows__a: 1 edge with the ends of another one",
        "a__knows__a: 2 self loops",
    ]


def test_edges_at_several_times_are_no_duplicates(warned):
    src = dst = np.array([0, 0])
    assert warned(src=src, dst=1 - dst, time=[1, 2]) == []


def test_labelled_nodes_that_no_edge_leads_to_are_warned_of(warned, rng):
    topic = rng.integers(5, size=NUM)
    topic[:2] = -1
    far = np.arange(5, NUM)
    sentence = "a: 3 labelled nodes that no edge leads to"
    assert warned([("topic", "class", topic)], src=np.roll(far, 1), dst=far) == [sentence]


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        ("class", np.full(NUM, 3), "a.x: every known value is class 3: nothing to learn"),
        ("regression", np.full(NUM, 2.5), "a.x: every known value is 2.5: nothing to learn"),
        ("regression", np.full(NUM, np.nan), "a.x: no value is known"),
        (
            "multilabel",
            np.column_stack([np.resize([0, 1], NUM), np.ones(NUM), np.zeros(NUM)]),
            "a.x: always the same in columns 1, 2: nothing to learn",
        ),
    ],
)
def test_a_label_that_never_changes_is_warned_of(warned, kind, values, sentence):
    assert warned([("x", kind, values)])[0] == sentence


def test_classes_without_a_training_example_are_warned_of(warned):
    topic, split = np.resize([0, 1, 2, 3, 1, 0], NUM), np.resize([1, 1, 2, 3, 2, 1], NUM)
    assert warned([("topic", "class", topic)], split=split) == [
        "a.topic: val or test has examples of classes 2, 3, train has none (split random)"
    ]


def test_a_part_without_a_known_label_is_warned_of(warned, rng):
    split = np.resize([1, 3], NUM)
    assert warned([("topic", "class", rng.integers(5, size=NUM))], split=split) == [
        "a.topic: no known value in val (split random)"
    ]


def test_the_same_warning_of_many_splits_stands_once(tmp_path):
    writer = GraphWriter(tmp_path / "graph", name="g")
    writer.add_nodes("a", 4)
    writer.add_label("a", "x", "class", [0, 1, 0, 1], num_classes=2)
    for name in "pq":
        writer.add_split("a", name, [1, 1, 2, 2])
    writer.add_edges(KNOWS, [0, 1, 2, 3], [1, 2, 3, 0])
    writer.finish()
    (sentence,) = GraphStore(tmp_path / "graph").card()["warnings"]
    assert sentence == "a.x: no known value in test (split p, q)"


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 7 - 3 * x], ids=["same", "scaled"])
@pytest.mark.parametrize("kind", ["class", "regression"])
def test_a_feature_that_is_the_label_is_warned_of(warned, rng, kind, change):
    label = rng.integers(5, size=NUM) if kind == "class" else rng.lognormal(sigma=3, size=NUM)
    features = rng.normal(size=(NUM, 4)).astype(np.float32)
    features[:, 2] = change(label)
    label = np.where(rng.random(NUM) < 0.3, -1 if kind == "class" else np.nan, label)
    assert warned([("x", kind, label)], features) == ["a.x: feature 2 says it"]


def test_a_feature_that_is_one_class_is_warned_of(warned, rng):
    label = rng.integers(5, size=NUM)
    features = rng.normal(size=(NUM, 4)).astype(np.float32)
    features[:, 1] = label == 3
    assert warned([("x", "class", label)], features) == ["a.x: feature 1 says class 3"]


def test_one_outlier_in_common_is_no_leak(warned, rng):
    label, features = rng.normal(size=NUM), rng.normal(size=(NUM, 1)).astype(np.float32)
    label[7], features[7] = 1e6, 1e6
    assert warned([("x", "regression", label)], features) == []


def test_a_word_that_few_nodes_have_is_no_leak(warned, rng):
    label = np.zeros(NUM, np.int64)
    label[:200], label[399] = 1, 2
    features = np.zeros((NUM, 1), np.float32)
    features[399] = 1
    assert warned([("x", "class", label)], features, np.resize([1, 2, 3, 1], NUM)) == []


def both_ways(rng, labels) -> dict:
    """A ring in both directions, where an edge and its way back share what they carry."""
    ring = np.arange(NUM)
    src, dst = np.append(ring, np.roll(ring, 1)), np.append(np.roll(ring, 1), ring)
    return {"src": src, "dst": dst, "edge_labels": [("x", "class", labels)], "reverse": KNOWS}


def test_a_label_that_the_way_back_carries_is_warned_of(warned, rng):
    shared = np.tile(rng.integers(2, size=NUM), 2)
    assert warned(**both_ways(rng, shared)) == [
        "a__knows__a.x: label x of a__knows__a, its reverse, says it"
    ]


def test_a_label_of_one_direction_alone_is_no_leak(warned, rng):
    assert warned(**both_ways(rng, rng.integers(2, size=2 * NUM))) == []


@pytest.mark.parametrize("leaks", [True, False])
def test_a_feature_on_the_way_back_that_is_the_label_is_warned_of(tmp_path, rng, leaks):
    writer = GraphWriter(tmp_path / "graph", name="g")
    src, dst = rng.integers(50, size=NUM), np.arange(NUM) % 80
    label = rng.integers(2, size=NUM)
    writer.add_nodes("a", 50)
    writer.add_nodes("b", 80)
    writer.add_edges(LIKES, src, dst, reverse=LIKED_BY)
    price = np.column_stack([rng.normal(size=NUM), label if leaks else label[::-1]])
    writer.add_edges(LIKED_BY, dst, src, reverse=LIKES, features=price.astype(np.float32))
    writer.add_label(
        LIKES, "sold", "class", np.where(rng.random(NUM) < 0.2, -1, label), num_classes=2
    )
    writer.finish()
    warnings = GraphStore(tmp_path / "graph").card()["warnings"]
    told = "a__likes__b.sold: feature 1 of b__liked_by__a, its reverse, says it"
    assert (told in warnings) is leaks
