"""A small graph folder with two node types and labels of every kind."""

from pathlib import Path

import numpy as np
import pytest

from mtl.graphs.writer import GraphWriter


def write_small(folder: Path) -> Path:
    """Six users with everything, three items with bfloat16 features, five and four edges."""
    writer = GraphWriter(folder, name="small")
    rng = np.random.default_rng(0)
    writer.add_nodes("user", 6, rng.random((6, 3), np.float32))
    writer.add_nodes("item", 3, np.array([[0x3F80], [0x4000], [0x0000]], np.uint16))
    writer.add_label("user", "topic", "class", [0, 1, 2, -1, 1, 0], num_classes=3)
    tags = [[0, 1], [1, -1], [-1, -1], [1, 1], [0, 0], [-1, 0]]
    writer.add_label("user", "tags", "multilabel", tags, num_classes=2)
    value = [1.5, np.nan, -2, 0, 4, 1]
    writer.add_label("user", "value", "regression", value, best={"r2": 0.9})
    writer.add_split("user", "first", [1, 1, 1, 2, 3, 0])
    writer.add_split("user", "second", [3, 2, 1, 1, 1, 1])
    writer.add_edges(("user", "likes", "item"), [5, 0, 3, 1, 0], [2, 0, 2, 0, 2])
    writer.add_edges(("user", "knows", "user"), [1, 0, 4, 3], [0, 1, 3, 4])
    writer.finish()
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The folder of the small graph."""
    return write_small(tmp_path / "small")
