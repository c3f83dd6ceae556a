"""A small graph with labels of every kind, and the tasks on it; one of several types."""

from pathlib import Path

import pytest
from hypothesis import settings

from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.graphs.store import GraphStore
from mtl.graphs.synthetic import Synthetic
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask

settings.register_profile("calm", deadline=None)  # a busy machine is no failure
settings.load_profile("calm")

TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "churn": {"type": "node_classification", "label": "churn", "split": "few"},
    "value": {"type": "node_regression", "label": "value"},
    "interests": {"type": "node_multilabel", "label": "interests", "weight": 0.5},
}


@pytest.fixture(scope="session")
def customers(cache_home: Path) -> GraphStore:
    """Three hundred customers with missing labels, eight features and six neighbours each."""
    return open_graph(Synthetic(num_nodes=300, avg_degree=6, num_communities=3, num_features=8))


@pytest.fixture(scope="session")
def shops(cache_home: Path) -> GraphStore:
    """Ninety users, forty items and six shops."""
    return open_graph(Marketplace(num_users=90, num_items=40, num_shops=6))


@pytest.fixture(scope="session")
def tasks(customers: GraphStore) -> dict[str, BoundTask]:
    """Four tasks of all kinds, on two different splits."""
    return {name: Task.read(options).bind(name, customers) for name, options in TASKS.items()}
