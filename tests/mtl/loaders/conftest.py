"""A small graph of several types of nodes and edges."""

from pathlib import Path

import pytest

from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.graphs.store import GraphStore


@pytest.fixture(scope="session")
def shops(cache_home: Path) -> GraphStore:
    """Ninety users, forty items and six shops."""
    return open_graph(Marketplace(num_users=90, num_items=40, num_shops=6))
