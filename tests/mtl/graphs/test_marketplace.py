"""The marketplace is what it says: reverses, times, best scores, and a use for the graph."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import (
    BOUGHT_BY,
    BUYS,
    FOLLOWED_BY,
    FOLLOWS,
    SELLS,
    SOLD_BY,
    Marketplace,
)
from mtl.graphs.store import GraphStore

SMALL = {"num_users": 3000, "num_items": 1500, "num_shops": 300, "num_features": 16}
CLASSES = [("user", "churn"), ("user", "interests"), ("item", "category"), (BUYS, "returned")]
NUMBERS = [("user", "value", 120, 60), ("shop", "quality", 3, 1)]


@pytest.fixture(scope="module")
def noisy() -> GraphStore:
    return open_graph(Marketplace(**SMALL, noise=0.15))


@pytest.fixture(scope="module")
def clean() -> GraphStore:
    return open_graph(Marketplace(**SMALL, noise=0, missing=0))


def edges(store: GraphStore, edge_type) -> tuple[np.ndarray, np.ndarray]:
    colptr, row = store.csc(edge_type)
    return np.asarray(row), np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))


@pytest.mark.parametrize(
    ("edge_type", "reverse"), [(BUYS, BOUGHT_BY), (FOLLOWS, FOLLOWED_BY), (SOLD_BY, SELLS)]
)
def test_every_relation_has_its_reverse(clean, edge_type, reverse):
    assert (clean.reverse(edge_type), clean.reverse(reverse)) == (reverse, edge_type)
    forth, back = edges(clean, edge_type), edges(clean, reverse)[::-1]
    pairs = [set(zip(*map(np.ndarray.tolist, part), strict=True)) for part in (forth, back)]
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) == len(forth[0])  # distinct


def test_both_directions_carry_the_same_time_and_quantity(clean):
    details = []
    for edge_type, step in ((BUYS, 1), (BOUGHT_BY, -1)):
        csc, (user, item) = clean.topology().edges[edge_type], edges(clean, edge_type)[::step]
        order = np.lexsort((user, item))
        details.append((csc.time[order], csc.weight[order]))
    for buys, bought_by in zip(*details, strict=True):
        assert np.array_equal(buys, bought_by)
    assert set(np.unique(details[0][1])) == {1, 2, 3, 4, 5}


def test_counts_and_degrees_are_those_asked_for(clean):
    card = clean.card()
    assert {kind: facts["num_nodes"] for kind, facts in card["nodes"].items()} == {
        "user": 3000,
        "item": 1500,
        "shop": 300,
    }
    assert card["edges"]["item__bought_by__user"]["mean_in_degree"] == pytest.approx(10, rel=0.01)
    assert card["edges"]["user__followed_by__user"]["mean_in_degree"] == pytest.approx(5, rel=0.01)
    assert card["edges"]["shop__sells__item"]["max_in_degree"] == 1
    assert card["edges"]["user__follows__user"]["num_self_loops"] == 0
    assert card["edges"]["item__bought_by__user"]["max_in_degree"] > 50


def test_the_split_time_trains_on_the_oldest_purchases(clean):
    time, split = clean.topology().edges[BUYS].time, clean.split(BUYS)
    assert clean.splits(BUYS) == ["time", "random"]
    assert time[split == 1].max() <= time[split == 2].min()
    assert time[split == 2].max() <= time[split == 3].min()
    shares = np.bincount(split)[1:] / len(split)
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_noise_changes_labels_alone(noisy, clean):
    for node_type in clean.node_types:
        assert np.array_equal(noisy.features(node_type), clean.features(node_type))
    for edge_type in clean.edge_types:
        assert np.array_equal(noisy.csc(edge_type)[1], clean.csc(edge_type)[1])


@pytest.mark.parametrize(("owner", "name"), CLASSES)
def test_best_accuracy_is_that_of_the_labels_before_the_noise(noisy, clean, owner, name):
    label, truth = noisy.label(owner, name), clean.label(owner, name).values
    known = label.values >= 0
    assert (label.values == truth)[known].mean() == pytest.approx(0.85, abs=0.02)
    assert label.best == {"accuracy": 0.85}
    assert 1 - known.mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(("owner", "name", "centre", "spread"), NUMBERS)
def test_best_r2_is_that_of_the_value_before_the_noise(noisy, clean, owner, name, centre, spread):
    label, truth = noisy.label(owner, name), clean.label(owner, name).values
    known = ~np.isnan(label.values)
    shrunk = centre + np.sqrt(0.85) * (truth[known] - centre)
    found = label.values[known]
    r2 = 1 - ((found - shrunk) ** 2).mean() / found.var()
    assert r2 == pytest.approx(0.85, abs=0.05)
    assert (found.mean(), found.std()) == pytest.approx((centre, spread), rel=0.1)
    assert label.best == {"r2": 0.85}


def heard(store: GraphStore, node_type: str) -> np.ndarray:
    """Own features, and the mean of each kind of neighbours'."""
    parts = [store.features(node_type).numpy()]
    for edge_type in store.edge_types:
        if edge_type[2] == node_type:
            colptr, row = store.csc(edge_type)
            features = store.features(edge_type[0]).numpy()
            shape = (len(colptr) - 1, len(features))
            adjacency = sparse.csr_matrix((np.ones(len(row)), row, colptr), shape)
            parts.append(adjacency @ features / np.maximum(np.diff(colptr), 1)[:, None])
    return np.hstack(parts)


@pytest.mark.parametrize(
    ("owner", "name", "margin"),
    [
        ("user", "churn", 0.08),
        ("user", "value", 0.5),
        ("user", "interests", 0.08),
        ("item", "category", 0.3),
        ("shop", "quality", 0.3),
    ],
)
def test_own_features_are_clearly_worse_than_with_neighbours(clean, owner, name, margin):
    label, split = clean.label(owner, name), clean.split(owner)
    target = label.values[:, 0] if label.kind == "multilabel" else label.values
    model = Ridge() if label.kind == "regression" else LogisticRegression(max_iter=300)
    alone, together = (
        model.fit(inputs[split == 1], target[split == 1]).score(
            inputs[split == 3], target[split == 3]
        )
        for inputs in (clean.features(owner).numpy(), heard(clean, owner))
    )
    assert alone + margin < together


def test_what_comes_back_follows_from_both_ends_and_from_what_they_are_together(clean):
    (user, item), label = edges(clean, BUYS), clean.label(BUYS, "returned").values
    split = clean.split(BUYS, "random")
    ends = np.hstack([clean.features("user").numpy()[user], clean.features("item").numpy()[item]])
    model = LogisticRegression(max_iter=300).fit(ends[split == 1], label[split == 1])
    majority = 1 - label.mean()
    assert majority + 0.02 < model.score(ends[split == 3], label[split == 3]) < 0.95


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        open_graph(Marketplace(num_users=300, num_items=100, num_shops=10, cache=folder))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    other = open_graph(Marketplace(num_users=300, num_items=100, num_shops=10, seed=1))
    assert not np.array_equal(
        other.features("user"), np.load(tmp_path / "one" / "node.user.features.npy")
    )


@pytest.mark.parametrize(
    "options",
    [
        {"num_users": 2, "num_items": 2, "num_shops": 2, "avg_purchases": 100.0},
        {"num_users": 5, "num_items": 3, "num_shops": 2, "num_communities": 50, "num_features": 1},
        {"num_users": 40, "homophily": 1.0, "missing": 0.99},
        {"num_users": 40, "num_items": 2, "num_shops": 99, "homophily": 0.0, "avg_follows": 0.01},
        {"num_users": 2, "num_items": 2, "num_shops": 2, "avg_purchases": 0.01},
    ],
)
def test_extreme_sizes_are_graphs(tmp_path, options):
    store = open_graph(Marketplace(cache=tmp_path / "graph", **options))
    assert store.num_nodes("user") == options["num_users"]
    assert store.card()["edges"]["user__buys__item"]["num_edges"] >= 1
