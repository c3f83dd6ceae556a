"""Small graph folders: one with labels of every kind, one with everything."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.graphs.writer import GraphWriter

BUYS, BOUGHT_BY = ("user", "buys", "item"), ("item", "bought_by", "user")


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


def write_full(folder: Path) -> Path:
    """Users, items and shops; what users buy has all that edges can have."""
    writer = GraphWriter(folder, name="full", source={"type": "made"}, fingerprint="f")
    rng = np.random.default_rng(0)
    names = np.array(["ann", "bob", "", "zoé", "日本"])
    writer.add_nodes("user", 5, rng.random((5, 2), np.float32), ids=names, time=[3, 1, 4, 1, 5])
    writer.add_nodes("item", 3, rng.random((3, 1)).astype(np.float16), ids=[70, -7, 7])
    writer.add_nodes("shop", 2, np.array([[0x3F80], [0x4000]], np.uint16))
    topics = ["maths", "arts", "none"]
    writer.add_label("user", "topic", "class", [0, 1, 2, -1, 1], num_classes=3, classes=topics)
    writer.add_split("user", "first", [1, 1, 2, 3, 0])
    src, dst = [4, 0, 3, 1, 0, 4], [2, 0, 2, 0, 2, 2]
    writer.add_edges(
        BUYS,
        src,
        dst,
        features=rng.random((6, 2), np.float32),
        weight=[1, 0, 2, 0.5, 3, 1],
        time=[9, 8, 7, 6, 5, 4],
        reverse=BOUGHT_BY,
    )
    writer.add_label(BUYS, "returned", "class", [0, 1, -1, 0, 1, 1], num_classes=2)
    stars = [[0, 1], [1, -1], [-1, -1], [1, 1], [0, 0], [-1, 0]]
    writer.add_label(BUYS, "stars", "multilabel", stars, num_classes=2, classes=["a", "b"])
    writer.add_label(BUYS, "price", "regression", [1, 2, np.nan, 4, 5, 6], best={"r2": 0.5})
    writer.add_split(BUYS, "time", [1, 1, 1, 2, 3, 0])
    writer.add_edges(BOUGHT_BY, dst, src, reverse=BUYS)
    writer.add_edges(
        ("user", "knows", "user"), [0, 1, 2], [1, 0, 2], reverse=("user", "knows", "user")
    )
    writer.add_edges(("shop", "sells", "item"), [1, 0], [0, 2])
    writer.add_collection("bundle", "item", [0, 2, 2, 3])
    writer.add_label("bundle", "sold", "class", [0, 1, -1], num_classes=2)
    writer.add_split("bundle", "first", [1, 2, 3])
    writer.finish()
    return folder


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both graphs, written once: bringing every file to the disk takes its time."""
    folder = tmp_path_factory.mktemp("written")
    write_small(folder / "small")
    write_full(folder / "full")
    return folder


@pytest.fixture
def small(written: Path, tmp_path: Path) -> Path:
    """The folder of the small graph."""
    return shutil.copytree(written / "small", tmp_path / "small")


@pytest.fixture
def full(written: Path, tmp_path: Path) -> Path:
    """The folder of the graph with everything."""
    return shutil.copytree(written / "full", tmp_path / "full")


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Any], object]], None]:
    """Change what graph.json says."""

    def edit(folder: Path, change: Callable[[Any], object]) -> None:
        path = folder / "graph.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


@pytest.fixture
def reseal() -> Callable[[Path, str, np.ndarray], None]:
    """Replace an array and its SHA-256, as a faulty converter would."""

    def reseal(folder: Path, name: str, array: np.ndarray) -> None:
        old = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        np.save(folder / name, array)
        new = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        text = (folder / "graph.json").read_text()
        (folder / "graph.json").write_text(text.replace(old, new))

    return reseal
