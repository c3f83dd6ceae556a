"""Amazon's raw file is read as PyG reads it, and nothing in it can be a pickle."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch_geometric.datasets import Amazon as AmazonOfPyG

from mtl.errors import DataError
from mtl.graphs.amazon import Amazon
from mtl.graphs.cache import open_graph
from mtl.graphs.store import GraphStore

NODE = "node"
FILE = "amazon_electronics_photo.npz"


@pytest.fixture(scope="module")
def photo(shared_data: Path) -> GraphStore:
    return open_graph(Amazon(root=shared_data))


@pytest.fixture
def raw(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of Photo's raw file that may be damaged."""
    folder = tmp_path / "root" / "Photo" / "raw"
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(shared_data / "Photo" / "raw" / FILE, folder / FILE))


def damage(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as file:
        content = {**file, **arrays}
    np.savez(path, **content)


def test_features_classes_and_edges_are_those_of_pyg(photo: GraphStore, raw: Path) -> None:
    data = AmazonOfPyG(str(raw.parents[2]), "Photo")[0]
    assert np.array_equal(photo.features(NODE), data.x)
    assert np.array_equal(photo.label(NODE, "y").values, data.y)
    colptr, row = photo.csc((NODE, "to", NODE))
    dst = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    order = np.lexsort(data.edge_index.numpy())  # by destination, then source
    assert np.array_equal(np.stack([row, dst]), data.edge_index[:, order])


def test_the_default_split_has_20_of_each_class_in_train_and_30_in_val(photo: GraphStore) -> None:
    split, classes = photo.split(NODE), photo.label(NODE, "y").values
    for value, count in ((1, 20), (2, 30)):
        assert np.bincount(classes[split == value]).tolist() == [count] * 8
    assert (split == 3).sum() == len(classes) - 8 * 50


def test_splits_follow_the_seed(shared_data: Path, photo: GraphStore) -> None:
    other = open_graph(Amazon(root=shared_data, seed=1))
    assert photo.splits(NODE) == ["random", "random_60_20_20"]
    for name in photo.splits(NODE):
        assert not np.array_equal(photo.split(NODE, name), other.split(NODE, name))
    assert np.bincount(other.split(NODE, "random_60_20_20")).tolist() == [0, 4590, 1530, 1530]


def test_a_class_with_few_goods_is_all_train(raw: Path) -> None:
    with np.load(raw) as file:
        classes = file["labels"]
    classes[classes == 7] = 6
    classes[:7] = 7
    damage(raw, labels=classes)
    split = open_graph(Amazon(root=raw.parents[2])).split(NODE)
    assert split[:7].tolist() == [1] * 7


def test_normalized_features_sum_to_one_and_log_degree_is_of_the_edges(shared_data: Path) -> None:
    store = open_graph(Amazon(root=shared_data, normalize_features=True))
    features, (colptr, _) = store.features(NODE), store.csc((NODE, "to", NODE))
    assert features is not None
    assert np.allclose(features.sum(1)[features.any(1)], 1, atol=1e-5)
    degrees = np.expm1(store.label(NODE, "log_degree").values)
    assert np.allclose(degrees, np.diff(colptr), rtol=1e-5)


def test_a_word_counts_once_and_a_good_is_not_bought_with_itself(raw: Path) -> None:
    with np.load(raw) as file:
        words, neighbours = file["attr_data"], file["adj_indices"]
    neighbours[0] = 0  # of good 0
    damage(raw, attr_data=words * 3, adj_indices=neighbours)
    store = open_graph(Amazon(root=raw.parents[2]))
    features, (colptr, row) = store.features(NODE), store.csc((NODE, "to", NODE))
    assert features is not None
    assert features.unique().tolist() == [0, 1]
    assert 0 not in row[: colptr[1]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"adj_indices": np.full(143663, 9999, np.int32)}, "indices"),
        ({"attr_indptr": np.zeros(3, np.int32)}, "do not fit 7650 rows"),
        ({"labels": np.zeros(7)}, "7 labels, but features and edges of"),
        ({"labels": np.full(7650, -1)}, "expected whole numbers from 0"),
        ({"labels": np.full(7650, "a")}, "expected whole numbers from 0"),
        ({"labels": np.array([{}] * 7650, object)}, "allow_pickle=False"),
        ({"attr_shape": np.array([7650, 10**9])}, "cannot be read"),
    ],
)
def test_a_broken_file_is_named(raw: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    damage(raw, **arrays)
    with pytest.raises(DataError) as caught:
        open_graph(Amazon(root=raw.parents[2]))
    assert str(caught.value).startswith(f"{raw}: cannot be read as gnn-benchmark's .npz: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_that_is_no_npz_is_named(raw: Path, content: bytes) -> None:
    raw.write_bytes(content)
    with pytest.raises(DataError, match=f"{FILE}: cannot be read"):
        open_graph(Amazon(root=raw.parents[2]))


def test_a_missing_file_is_downloaded_and_nothing_else_is_written(
    shared_data: Path, tmp_path: Path, photo: GraphStore
) -> None:
    url = (shared_data / "Photo" / "raw").as_uri()
    store = open_graph(Amazon(root=tmp_path, url=url))
    assert store.fingerprint == photo.fingerprint
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [Path("Photo/raw") / FILE]


def test_a_failed_download_says_what_to_place_where(tmp_path: Path) -> None:
    where = f"place amazon_electronics_computers.npz into {tmp_path}/Computers/raw"
    with pytest.raises(DataError, match=where):
        open_graph(Amazon(name="Computers", root=tmp_path, url=(tmp_path / "no").as_uri()))
