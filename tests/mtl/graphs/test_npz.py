"""Many small graphs in one file: read as one graph, and refused where they do not fit."""

import numpy as np
import pytest

from mtl.errors import DataError
from mtl.graphs.cache import open_graph
from mtl.graphs.npz import Npz


def arrays() -> dict[str, np.ndarray]:
    """Three molecules of 2, 3 and 1 atoms."""
    return {
        "num_nodes": np.array([2, 3, 1], np.uint16),
        "num_edges": np.array([2, 4, 0], np.uint16),
        "x": np.array([[0, 2], [1, 0], [0, 1], [1, 1], [0, 0], [1, 2]], np.uint8),
        "edge_index": np.array([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]], np.uint16),
        "edge_attr": np.array([[0], [0], [1], [1], [2], [2]], np.uint8),
        "y": np.array([[0, 1], [np.nan, 1], [1, np.nan]], np.float32),
        "tasks": np.array(["a", "b"]),
        "scaffold_split": np.array([0, 1, 2], np.int8),
    }


def opened(tmp_path, **changed):
    path = tmp_path / "small.npz"
    np.savez(path, **(arrays() | changed))
    return open_graph(Npz(file=path, cache=tmp_path / "graph"))


def test_graphs_stand_one_after_the_other(tmp_path):
    store = opened(tmp_path)
    node_type, pointer = store.members("molecule")
    assert (node_type, pointer.tolist()) == ("atom", [0, 2, 5, 6])
    csc = store.topology().edges["atom", "bond", "atom"]
    ends = list(zip(csc.row.tolist(), csc.destination(np.arange(6)).tolist(), strict=True))
    assert ends == [(1, 0), (0, 1), (3, 2), (2, 3), (4, 3), (3, 4)]
    assert store.reverse(("atom", "bond", "atom")) == ("atom", "bond", "atom")
    assert store.features("atom")[0].tolist() == [1, 0, 0, 0, 1]
    assert store.edge_features(("atom", "bond", "atom"))[4].tolist() == [0, 0, 1]
    label = store.label("molecule", "y")
    assert (label.kind, label.classes) == ("multilabel", ("a", "b"))
    assert label.values.tolist() == [[0, 1], [-1, 1], [1, -1]]
    assert store.split("molecule", "scaffold").tolist() == [1, 2, 3]
    assert store.card()["collections"]["molecule"]["max_nodes"] == 3


@pytest.mark.parametrize(("y", "kind"), [([0, 2, 1], "class"), ([0.5, np.nan, 2.0], "regression")])
def test_one_label_a_graph_is_a_class_or_a_number(tmp_path, y, kind):
    assert opened(tmp_path, y=np.array(y)).label("molecule", "y").kind == kind


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_nodes": np.array([2, 3, 2])}, "x has 6 rows; allowed: 7"),
        ({"num_nodes": np.array([2, 5, -1])}, "num_nodes, row 2: -1; allowed: 0 to"),
        ({"num_nodes": np.array([2.0, 3, 1])}, "num_nodes is float64 .*; allowed: whole numbers"),
        (
            {"x": np.array([[0, 2], [1, -1], [0, 1], [1, 1], [0, 0], [1, 2]])},
            r"x, row 1, column 1: -1; allowed: 0 to 4095, .*\(1 such\)",
        ),
        ({"x": np.zeros(6)}, r"x is float64 \(6,\); allowed: numbers in 2 dimensions"),
        ({"num_edges": np.array([2, 4, 1])}, "edge_attr has 6 rows; allowed: 7"),
        ({"scaffold_split": np.array([0, 1])}, "scaffold_split has 2 rows; allowed: 3"),
        (
            {"edge_index": np.array([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 3, 1]])},
            r"edge_index, column 4: \[1, 3\]; allowed: 0 to 2, .*\(1 such edges\)",
        ),
        ({"edge_index": np.zeros((2, 5), int)}, r"edge_index is \(2, 5\); allowed: \(2, 6\)"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        opened(tmp_path, **changed)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "none.npz"
    with pytest.raises(DataError, match="no such file"):
        open_graph(Npz(file=path, cache=tmp_path / "graph"))
    path.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match=r"none\.npz: cannot be read as \.npz"):
        open_graph(Npz(file=path, cache=tmp_path / "graph"))
    np.savez(path, x=np.zeros(1))
    with pytest.raises(DataError, match=r"no array 'num_nodes' \(it has: x\)"):
        open_graph(Npz(file=path, cache=tmp_path / "graph"))
