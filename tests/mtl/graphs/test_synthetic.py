"""The synthetic graph is what it says: degrees, homophily, best scores, and a use for the graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge
from torch_geometric.utils import contains_self_loops, is_undirected

from mtl.graphs.cache import open_graph
from mtl.graphs.store import GraphStore
from mtl.graphs.synthetic import Synthetic

NODE = "node"
EDGE = (NODE, "to", NODE)


@pytest.fixture(scope="module")
def noisy() -> GraphStore:
    return open_graph(Synthetic(noise=0.15))


@pytest.fixture(scope="module")
def clean() -> GraphStore:
    return open_graph(Synthetic(noise=0, missing=0))


def edges(store: GraphStore) -> torch.Tensor:
    colptr, row = store.csc(EDGE)
    dst = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    return torch.from_numpy(np.stack([row, dst]).astype(np.int64))


def test_edges_are_symmetric_distinct_and_no_loops(clean: GraphStore) -> None:
    edge_index = edges(clean)
    assert is_undirected(edge_index)
    assert not contains_self_loops(edge_index)
    assert edge_index.unique(dim=1).size(1) == edge_index.size(1)


def test_degrees_have_the_mean_asked_for_and_a_long_tail(clean: GraphStore) -> None:
    degrees = clean.card()["edges"]["node__to__node"]
    assert degrees["mean_in_degree"] == pytest.approx(12, rel=0.01)
    assert degrees["max_in_degree"] > 15 * degrees["mean_in_degree"]


def test_homophily_is_the_share_of_edges_inside(clean: GraphStore) -> None:
    segment = np.asarray(clean.label(NODE, "segment").values)
    src, dst = edges(clean).numpy()
    assert (segment[src] == segment[dst]).mean() == pytest.approx(0.8, abs=0.02)


def test_noise_changes_labels_alone(noisy: GraphStore, clean: GraphStore) -> None:
    assert torch.equal(noisy.features(NODE), clean.features(NODE))
    assert torch.equal(edges(noisy), edges(clean))


@pytest.mark.parametrize("name", ["segment", "churn", "interests"])
def test_best_accuracy_is_that_of_the_labels_before_the_noise(
    noisy: GraphStore, clean: GraphStore, name: str
) -> None:
    label, truth = noisy.label(NODE, name), clean.label(NODE, name).values
    known = label.values >= 0
    assert (label.values == truth)[known].mean() == pytest.approx(label.best["accuracy"], abs=0.01)
    assert label.best == {"accuracy": 0.85}


def test_best_r2_is_that_of_the_value_before_the_noise(
    noisy: GraphStore, clean: GraphStore
) -> None:
    label, truth = noisy.label(NODE, "value"), clean.label(NODE, "value").values
    known = ~np.isnan(label.values)
    shrunk = 120 + np.sqrt(0.85) * (truth[known] - 120)
    euros = label.values[known]
    r2 = 1 - ((euros - shrunk) ** 2).mean() / euros.var()
    assert r2 == pytest.approx(label.best["r2"], abs=0.01)
    assert (euros.mean(), euros.std()) == pytest.approx((120, 60), rel=0.03)


def test_a_share_of_every_label_is_missing_each_by_itself(noisy: GraphStore) -> None:
    labels = noisy.labels(NODE)
    segment = labels["segment"].values < 0
    churn = labels["churn"].values < 0
    assert segment.mean() == pytest.approx(0.2, abs=0.02)
    assert (segment & churn).mean() == pytest.approx(0.04, abs=0.01)
    assert np.isnan(labels["value"].values).mean() == pytest.approx(0.2, abs=0.02)
    assert (labels["interests"].values < 0).mean(0) == pytest.approx(np.full(6, 0.2), abs=0.02)


def test_churn_is_imbalanced_and_segments_are_not(noisy: GraphStore) -> None:
    labels = noisy.card()["nodes"][NODE]["labels"]
    stay, leave = labels["churn"]["num_labelled"]
    assert leave / (stay + leave) == pytest.approx(0.25, abs=0.05)
    segments = labels["segment"]["num_labelled"]
    assert max(segments) < 1.2 * min(segments)


def test_splits_have_their_shares(clean: GraphStore) -> None:
    splits = clean.card()["nodes"][NODE]["splits"]
    assert splits["random"] == {"train": 6000, "val": 2000, "test": 2000}
    assert splits["few"] == {"train": 1000, "val": 2000, "test": 2000}
    assert list(splits) == ["random", "few"]


@pytest.mark.parametrize(
    ("name", "margin"), [("segment", 0.25), ("churn", 0.07), ("value", 0.5), ("interests", 0.08)]
)
def test_own_features_are_clearly_worse_than_with_neighbours(
    clean: GraphStore, name: str, margin: float
) -> None:
    own = clean.features(NODE).numpy()
    colptr, row = clean.csc(EDGE)
    adjacency = sparse.csr_matrix((np.ones(len(row)), row, colptr))
    heard = adjacency @ own / np.maximum(np.diff(colptr), 1)[:, None]
    label = clean.label(NODE, name)
    target = label.values[:, 0] if label.kind == "multilabel" else label.values
    train, test = (clean.split(NODE, None) == value for value in (1, 3))
    model = Ridge() if label.kind == "regression" else LogisticRegression(max_iter=300)
    alone, together = (
        model.fit(inputs[train], target[train]).score(inputs[test], target[test])
        for inputs in (own, np.hstack([own, heard]))
    )
    assert alone + margin < together


@pytest.mark.parametrize(
    "options",
    [
        {"num_nodes": 2, "avg_degree": 1.0},
        {"num_nodes": 5, "avg_degree": 100.0},
        {"num_nodes": 3, "num_communities": 50, "num_features": 1},
        {"num_nodes": 40, "homophily": 1.0, "missing": 0.99},
        {"num_nodes": 40, "homophily": 0.0, "avg_degree": 0.01},
    ],
)
def test_extreme_sizes_are_graphs(tmp_path: Path, options) -> None:
    store = open_graph(Synthetic(cache=tmp_path / "graph", **options))
    assert store.num_nodes(NODE) == options["num_nodes"]
