"""A small shop: users buy items and follow each other; labels on nodes and on purchases."""

from pathlib import Path

import numpy as np
import pytest

from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask

NUM_USERS, NUM_ITEMS, NUM_BUYS, NUM_FRIENDS = 60, 40, 300, 150
BUYS, SOLD = ("user", "buys", "item"), ("item", "rev_buys", "user")
FRIEND = ("user", "friend", "user")
MIXED = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "price": {"type": "node_regression", "node_type": "item", "label": "price"},
    "stars": {"type": "edge_classification", "edge_type": "user__buys__item", "label": "stars"},
    "amount": {"type": "edge_regression", "edge_type": "user__buys__item", "label": "amount"},
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item", "num_negatives": 2},
    "friend": {"type": "link_prediction", "edge_type": "user__friend__user", "loss": "ranking"},
}


@pytest.fixture(scope="session")
def mixed_shop(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    """Purchases (some of them twice) with features, labels and their reverse; mutual friends."""
    folder: Path = tmp_path_factory.mktemp("graphs") / "mixed"
    rng, writer = np.random.default_rng(0), GraphWriter(folder, name="mixed")
    for kind, number, width in (("user", NUM_USERS, 5), ("item", NUM_ITEMS, 3)):
        writer.add_nodes(kind, number, rng.random((number, width), np.float32))
        writer.add_split(kind, "split", rng.integers(1, 4, number))
    writer.add_label("user", "churn", "class", rng.integers(-1, 2, NUM_USERS), num_classes=2)
    writer.add_label("item", "price", "regression", rng.random(NUM_ITEMS))
    src, dst = rng.integers(NUM_USERS, size=NUM_BUYS), rng.integers(NUM_ITEMS, size=NUM_BUYS)
    src[-30:], dst[-30:] = src[:30], dst[:30]
    features = rng.random((NUM_BUYS, 2), np.float32)
    writer.add_edges(BUYS, src, dst, features=features)
    stars = rng.integers(-1, 3, NUM_BUYS)
    writer.add_label(BUYS, "stars", "class", stars, num_classes=3)
    writer.add_label(BUYS, "amount", "regression", np.where(stars < 0, 1.5, np.nan))
    writer.add_split(BUYS, "split", rng.integers(1, 4, NUM_BUYS))
    writer.add_edges(SOLD, dst, src, features=features, reverse=BUYS)
    one, other = np.triu_indices(NUM_USERS, 1)
    some = rng.choice(len(one), NUM_FRIENDS, replace=False)
    pairs = np.stack([one[some], other[some]])
    writer.add_edges(FRIEND, *np.hstack([pairs, pairs[::-1]]), reverse=FRIEND)
    writer.finish()
    return GraphStore(folder)


@pytest.fixture(scope="session")
def mixed(mixed_shop: GraphStore) -> dict[str, BoundTask]:
    """Tasks on nodes of two types, on edges, and on links of two types."""
    return {name: Task.read(options).bind(name, mixed_shop) for name, options in MIXED.items()}
