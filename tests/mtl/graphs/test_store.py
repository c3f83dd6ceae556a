"""GraphStore gives back what GraphWriter got, as shared maps of the files."""

import json
import os
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
from mtl.graphs.validate import validate
from mtl.graphs.writer import Chunks, GraphWriter

BUYS = ("user", "buys", "item")


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


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_no_nodes_no_features_and_no_edges_are_a_graph(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    writer = GraphWriter(tmp_path, name="empty")
    writer.add_nodes("node", shape[0], np.empty(shape, np.float32), ids=["a", "", "b"][: shape[0]])
    writer.add_edges(("node", "to", "node"), [], [])
    writer.finish()
    validate(tmp_path)
    data = GraphStore(tmp_path).data()
    assert (data.num_nodes, data.x.shape, data.edge_index.shape) == (shape[0], shape, (2, 0))


def test_nodes_alone_are_a_graph(tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, name="nodes")
    writer.add_nodes("node", 2, np.ones((2, 1), np.float32))
    writer.finish()
    store = GraphStore(tmp_path)
    assert isinstance(store.data(), HeteroData)  # no edge type is not one edge type
    assert validate(tmp_path) == store.info


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


def test_topology_is_what_was_written_as_maps(full: Path) -> None:
    topology = GraphStore(full).topology()
    assert topology.num_nodes == {"user": 5, "item": 3, "shop": 2}
    assert topology.is_heterogeneous
    assert topology.time["user"].tolist() == [3, 1, 4, 1, 5]
    csc = topology.edges[BUYS]
    assert csc.colptr.tolist() == [0, 2, 2, 6]
    assert csc.row.tolist() == [0, 1, 0, 3, 4, 4]
    assert csc.weight is not None
    assert csc.weight.tolist() == [0, 0.5, 3, 2, 1, 1]
    assert csc.time is not None
    assert csc.time.tolist() == [8, 6, 5, 7, 9, 4]
    plain = topology.edges["shop", "sells", "item"]
    assert (plain.weight, plain.time) == (None, None)
    maps = Path("/proc/self/maps").read_text()
    for array in GraphStore(full).info.edges[0].arrays()[:3]:
        assert str(full / array.file) in maps


def test_edges_have_labels_splits_and_features_as_nodes_do(full: Path) -> None:
    store = GraphStore(full)
    assert store.splits(BUYS) == ["time"]
    assert store.split(BUYS).tolist() == [1, 2, 3, 1, 1, 0]
    labels = store.labels(BUYS)
    assert labels["returned"].values.tolist() == [1, 0, 1, -1, 0, 1]
    assert labels["stars"].values.tolist() == [[1, -1], [1, 1], [0, 0], [-1, -1], [0, 1], [-1, 0]]
    assert labels["price"].labelled(np.arange(6)).tolist() == [1, 1, 1, 0, 1, 1]
    assert (labels["stars"].classes, labels["returned"].classes) == (("a", "b"), None)
    assert store.label("user", "topic").classes == ("maths", "arts", "none")
    features = store.edge_features(BUYS)
    assert features is not None
    assert features.shape == (6, 2)
    assert torch.equal(store.data()[BUYS].edge_attr, features)
    assert store.edge_features(("shop", "sells", "item")) is None
    assert "edge_attr" not in store.data()["shop", "sells", "item"]


def test_each_of_two_relations_knows_its_reverse_if_one_of_them_says_so(tmp_path: Path) -> None:
    there, back, other = ("a", "to", "b"), ("b", "from", "a"), ("a", "other", "b")
    writer = GraphWriter(tmp_path, name="reverse")
    writer.add_nodes("a", 2)
    writer.add_nodes("b", 2)
    writer.add_edges(there, [0, 1], [1, 1])
    writer.add_edges(back, [1, 1], [0, 1], reverse=there)
    writer.add_edges(other, [0], [0])
    writer.finish()
    store = GraphStore(tmp_path)
    assert [store.reverse(kind) for kind in (there, back, other)] == [back, there, None]


def test_time_and_ids_are_none_where_there_are_none(full: Path) -> None:
    store = GraphStore(full)
    assert (store.time("item"), store.ids("shop")) == (None, None)
    times, ids = store.time("user"), store.ids("item")
    assert times is not None
    assert ids is not None
    assert (times.tolist(), ids.of(np.array([1, 0]))) == ([3, 1, 4, 1, 5], [-7, 70])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 4), max_size=6))
def test_features_in_chunks_are_the_bytes_of_features_at_once(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, sizes: list[int]
) -> None:
    folder, rows = tmp_path_factory.mktemp("features"), sum(sizes)
    stored = "uint16" if dtype == "bfloat16" else dtype
    features = np.arange(rows * 3).reshape(rows, 3).astype(stored)
    parts = np.split(features, np.cumsum(sizes)[:-1]) if sizes else []
    for name, given_as in (("once", features), ("chunks", Chunks(3, dtype, iter(parts)))):
        writer = GraphWriter(folder / name, name="features")
        writer.add_nodes("node", rows, given_as)
        writer.finish()
    once, chunks = (folder / name / "node.node.features.npy" for name in ("once", "chunks"))
    assert once.read_bytes() == chunks.read_bytes()
    assert np.array_equal(np.load(once), features)


def test_chunks_of_too_few_rows_are_refused(tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, name="features")
    with pytest.raises(DataError, match=r"node\.a\.features\.npy: 4 rows; allowed: 5"):
        writer.add_nodes("a", 5, Chunks(1, "float32", [np.ones((4, 1), np.float32)]))


def test_a_file_larger_than_the_memory_is_mapped(small: Path) -> None:
    """Private maps that may be written are counted as memory, unless the kernel is told not to."""
    num_nodes = 4 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4096
    path = small / "node.huge.features.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_nodes, 1024)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4096 * num_nodes)
    content = json.loads((small / "graph.json").read_text())
    shape, sha256 = [num_nodes, 1024], "0" * 64
    array = {"file": path.name, "dtype": "float32", "shape": shape, "sha256": sha256}
    content["nodes"]["huge"] = {"num_nodes": num_nodes, "features": array}
    (small / "graph.json").write_text(json.dumps(content))
    features = GraphStore(small).data()["huge"].x
    assert features[num_nodes - 1].sum() == 0
    features[7] = 1
    assert features[7].sum() == 1024


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


def test_a_class_that_does_not_fit_its_dtype_is_named(tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, name="labels")
    writer.add_nodes("node", 2)
    with pytest.raises(DataError, match="row 1: 4294967296"):
        writer.add_label("node", "y", "class", [0, 2**32], num_classes=2)
    with pytest.raises(DataError, match=r"row 0: 0\.5"):
        writer.add_label("node", "y", "class", [0.5, 1], num_classes=2)
