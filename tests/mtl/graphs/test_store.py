"""GraphStore gives back what GraphWriter got, as shared maps of the files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData

from mtl.errors import ConfigError, DataError
from mtl.graphs.cache import open_graph
from mtl.graphs.store import GraphStore
from mtl.graphs.synthetic import Synthetic
from mtl.graphs.writer import GraphWriter

EDGES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=40)


def test_counts_types_and_names_come_back(small: Path) -> None:
    store = GraphStore(small)
    assert (store.name, store.node_types, store.num_nodes("user")) == ("small", ["user", "item"], 6)
    assert store.edge_types == [("user", "likes", "item"), ("user", "knows", "user")]
    assert store.splits("user") == ["first", "second"]
    assert list(store.labels("user")) == ["topic", "tags", "value"]


def test_labels_come_back_in_their_dtypes(small: Path) -> None:
    labels = GraphStore(small).labels("user")
    assert {name: label.values.dtype.name for name, label in labels.items()} == {
        "topic": "int32",
        "tags": "int8",
        "value": "float32",
    }
    assert labels["topic"].values.tolist() == [0, 1, 2, -1, 1, 0]
    assert labels["value"].best == {"r2": 0.9}
    assert [label.num_classes for label in labels.values()] == [3, 2, 1]


def test_labelled_says_which_nodes_have_any_label(small: Path) -> None:
    labels, ids = GraphStore(small).labels("user"), np.array([3, 2, 1])
    assert labels["topic"].labelled(ids).tolist() == [False, True, True]
    assert labels["tags"].labelled(ids).tolist() == [True, False, True]
    assert labels["value"].labelled(ids).tolist() == [True, True, False]


def test_split_without_a_name_is_the_first(small: Path) -> None:
    store = GraphStore(small)
    assert store.split("user", None).tolist() == [1, 1, 1, 2, 3, 0]
    assert store.split("user", "second").tolist() == [3, 2, 1, 1, 1, 1]


def test_bfloat16_features_come_back(small: Path) -> None:
    features = GraphStore(small).features("item")
    assert features is not None
    assert features.dtype == torch.bfloat16
    assert features.flatten().tolist() == [1.0, 2.0, 0.0]


@settings(max_examples=25, deadline=None)
@given(EDGES)
def test_edges_in_any_order_become_csc(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("edges")
    writer = GraphWriter(folder, name="edges")
    writer.add_nodes("a", 7)
    writer.add_nodes("b", 4)
    writer.add_edges(("a", "to", "b"), [a for a, _ in edges], [b for _, b in edges])
    writer.finish()
    colptr, row = GraphStore(folder).csc(("a", "to", "b"))
    found = [(int(a), b) for b in range(4) for a in row[colptr[b] : colptr[b + 1]]]
    assert found == sorted(edges, key=lambda edge: edge[::-1])
    assert row.dtype == np.int32


def test_an_empty_type_and_no_edges_are_a_graph(tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, name="empty")
    writer.add_nodes("node", 0, np.empty((0, 4), np.float32))
    writer.add_edges(("node", "to", "node"), [], [])
    writer.finish()
    data = GraphStore(tmp_path).data()
    assert (data.num_nodes, data.x.shape, data.edge_index.shape) == (0, (0, 4), (2, 0))


def test_data_of_one_type_is_homogeneous_and_of_more_is_not(small: Path) -> None:
    plain, several = open_graph(Synthetic(num_nodes=50)).data(), GraphStore(small).data()
    assert isinstance(plain, Data)
    assert (plain.num_nodes, plain.x.shape) == (50, (50, 32))
    assert isinstance(several, HeteroData)
    assert several["user", "likes", "item"].edge_index.shape == (2, 5)
    assert several["item"].num_nodes == 3


def test_tensors_are_shared_maps_of_the_file(small: Path) -> None:
    data = GraphStore(small).data()
    maps = Path("/proc/self/maps").read_text().splitlines()
    (line,) = [line for line in maps if line.endswith(str(small / "node.user.features.npy"))]
    low, high = (int(end, 16) for end in line.split()[0].split("-"))
    assert low <= data["user"].x.data_ptr() < high


def test_writing_into_a_tensor_leaves_the_file_alone(small: Path) -> None:
    path = small / "node.user.features.npy"
    before = path.read_bytes()
    features = GraphStore(small).features("user")
    assert features is not None
    features.fill_(7)
    assert path.read_bytes() == before
    assert not (GraphStore(small).features("user") == 7).any()


def test_fingerprint_follows_the_arrays_not_the_folder(small: Path, tmp_path: Path) -> None:
    one, again, other = (
        GraphWriter(tmp_path / name, name=name) for name in ("one", "again", "other")
    )
    for writer, count in ((one, 2), (again, 2), (other, 3)):
        writer.add_nodes("node", count, np.ones((count, 1), np.float32))
        writer.finish()
    first, second, third = (
        GraphStore(tmp_path / name).fingerprint for name in ("one", "again", "other")
    )
    assert first == second != third


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda store: store.label("user", "topik"), "did you mean 'topic'?"),
        (lambda store: store.label("item", "topic"), "(there are: none)"),
        (lambda store: store.split("user", "frist"), "did you mean 'first'?"),
        (lambda store: store.split("item", None), "no split (there are: none)"),
        (lambda store: store.num_nodes("users"), "did you mean 'user'?"),
        (
            lambda store: store.csc(("user", "like", "item")),
            "('user', 'likes', 'item')",
        ),
    ],
)
def test_asking_for_what_is_not_there_names_what_is(small: Path, ask, answer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(GraphStore(small))
    assert answer in str(caught.value)


def test_card_is_plain_json_with_coverage_and_balance(small: Path) -> None:
    card = json.loads(json.dumps(GraphStore(small).card()))
    user = card["nodes"]["user"]
    assert user["labels"]["topic"]["num_labelled"] == [2, 2, 1]
    assert user["labels"]["value"]["coverage"] == 5 / 6
    assert user["splits"]["first"] == {"train": 3, "val": 1, "test": 1}
    likes = {"num_edges": 5, "mean_in_degree": 5 / 3, "max_in_degree": 3}
    assert likes.items() <= card["edges"]["user__likes__item"].items()


@pytest.mark.parametrize(
    ("ids", "bad"), [([0, 9], "source: row 1: 9; allowed: 0 to 2"), ([-1, 0], "source: row 0: -1")]
)
def test_an_edge_out_of_range_is_named(tmp_path: Path, ids: list[int], bad: str) -> None:
    writer = GraphWriter(tmp_path, name="edges")
    writer.add_nodes("node", 3)
    with pytest.raises(DataError, match=bad):
        writer.add_edges(("node", "to", "node"), ids, [0, 1])


def test_a_class_that_does_not_fit_its_dtype_is_named(tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, name="labels")
    writer.add_nodes("node", 2)
    with pytest.raises(DataError, match="row 1: 4294967296"):
        writer.add_label("node", "y", "class", [0, 2**32], num_classes=2)
    with pytest.raises(DataError, match=r"row 0: 0\.5"):
        writer.add_label("node", "y", "class", [0.5, 1], num_classes=2)
