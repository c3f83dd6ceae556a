"""Planetoid's raw files are read as PyG reads them, but nothing in them is ever executed."""

import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from torch_geometric.io import read_planetoid_data

from mtl.errors import ConfigError, DataError
from mtl.graphs.cache import open_graph
from mtl.graphs.planetoid import Planetoid
from mtl.graphs.store import GraphStore

NODE = "node"


@pytest.fixture(scope="module")
def cora(shared_data: Path) -> GraphStore:
    return open_graph(Planetoid(root=shared_data, normalize_features=False))


@pytest.fixture
def raw(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of Cora's raw files that may be damaged."""
    return shutil.copytree(shared_data / "Cora" / "raw", tmp_path / "root" / "Cora" / "raw")


@pytest.fixture(scope="module")
def pyg(shared_data: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old pickles
        return read_planetoid_data(str(shared_data / "Cora" / "raw"), "cora")


def test_features_classes_and_edges_are_those_of_pyg(cora: GraphStore, pyg) -> None:
    assert np.array_equal(cora.features(NODE), pyg.x)
    assert np.array_equal(cora.label(NODE, "y").values, pyg.y)
    colptr, row = cora.csc((NODE, "to", NODE))
    dst = np.repeat(np.arange(len(colptr) - 1), np.diff(colptr))
    assert np.array_equal(np.stack([row, dst]), pyg.edge_index)


def test_public_and_full_splits_are_those_of_pyg(cora: GraphStore, pyg) -> None:
    public, full = cora.split(NODE, None), cora.split(NODE, "full")
    for value, mask in enumerate((pyg.train_mask, pyg.val_mask, pyg.test_mask), start=1):
        assert np.array_equal(public == value, mask)
    assert np.array_equal(full == 1, ~(pyg.val_mask | pyg.test_mask))


def test_random_split_follows_the_seed(shared_data: Path, cora: GraphStore) -> None:
    split = cora.split(NODE, "random")
    assert np.bincount(split).tolist() == [0, 1625, 541, 542]
    other = open_graph(Planetoid(root=shared_data, seed=1)).split(NODE, "random")
    assert not np.array_equal(split, other)


def test_log_degree_is_of_the_edges(cora: GraphStore) -> None:
    colptr, _ = cora.csc((NODE, "to", NODE))
    label = cora.label(NODE, "log_degree")
    assert np.allclose(np.expm1(label.values), np.diff(colptr))


def test_word_labels_leave_the_features_which_then_sum_to_one(
    shared_data: Path, cora: GraphStore
) -> None:
    store = open_graph(Planetoid(root=shared_data, num_word_labels=8))
    before, words, features = cora.features(NODE), store.label(NODE, "words"), store.features(NODE)
    assert before is not None
    assert features is not None
    assert np.array_equal(words.values.sum(0), np.sort(before.sum(0))[::-1][:8])
    assert features.shape[1] == before.shape[1] - 8
    sums = features.sum(1)[features.any(1)]
    assert np.allclose(sums, 1, atol=1e-6)


def test_more_word_labels_than_words_are_refused(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_word_labels: 1433; allowed: less than 1433"):
        open_graph(Planetoid(root=shared_data, num_word_labels=1433))


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_malicious_pickle_is_refused_and_not_executed(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (raw / "ind.cora.graph").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"ind\.cora\.graph: .*it names .*, which is not allowed"):
        open_graph(Planetoid(root=raw.parents[1]))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x", b"not a pickle", "ind.cora.x: cannot be read"),
        ("ty", b"", "ind.cora.ty: cannot be read"),
        ("ally", pickle.dumps([1, 2]), "ind.cora.ally: cannot be read"),
        ("graph", pickle.dumps({0: [5000]}), "ind.cora.graph: paper 5000; allowed: 0 to 2707"),
        ("graph", pickle.dumps({0: ["a"]}), "ind.cora.graph: cannot be read"),
        ("test.index", b"1708\nx\n", "ind.cora.test.index: cannot be read"),
        ("test.index", b"", "the raw files do not belong together"),
        ("test.index", b"1708\n1709\n", "the raw files do not belong together"),
    ],
)
def test_a_broken_raw_file_is_named(raw: Path, name: str, content: bytes, message: str) -> None:
    (raw / f"ind.cora.{name}").write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_graph(Planetoid(root=raw.parents[1]))
    assert message in str(caught.value)


def test_missing_files_are_downloaded_and_nothing_else_is_written(
    shared_data: Path, tmp_path: Path, cora: GraphStore
) -> None:
    url = (shared_data / "Cora" / "raw").as_uri()
    store = open_graph(Planetoid(root=tmp_path, url=url, normalize_features=False))
    assert store.fingerprint == cora.fingerprint
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {f"Cora/raw/{path.name}" for path in (shared_data / "Cora" / "raw").iterdir()}


def test_a_failed_download_says_what_to_place_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"place the files ind.cora.* into {tmp_path}/Cora/raw"):
        open_graph(Planetoid(root=tmp_path, url=(tmp_path / "nowhere").as_uri()))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def tiny(tmp_path: Path) -> GraphStore:
    """Seven papers: 4 known, 6 and 4 tested, nobody labelled 5; a loop and a double edge."""
    raw = tmp_path / "CiteSeer" / "raw"
    raw.mkdir(parents=True)
    rows, labels = np.eye(4), np.eye(2)[[0, 1, 0, 1]]
    parts = {"x": rows[:2], "tx": rows[:2], "allx": rows, "graph": {0: [1, 1, 0], 2: [1]}}
    parts |= {"y": labels[:2], "ty": labels[:2], "ally": labels}
    for name, part in parts.items():
        (raw / f"ind.citeseer.{name}").write_bytes(pickle.dumps(part, protocol=4))
    (raw / "ind.citeseer.test.index").write_text("6\n4\n")
    return open_graph(Planetoid(name="CiteSeer", root=tmp_path))


def test_a_paper_of_citeseer_without_a_label_is_missing_not_class_zero(tiny: GraphStore) -> None:
    assert tiny.label(NODE, "y").values.tolist() == [0, 1, 0, 1, 1, -1, 0]


def test_loops_and_double_edges_are_left_out_and_degrees_are_of_the_destination(
    tiny: GraphStore,
) -> None:
    assert [part.tolist() for part in tiny.csc((NODE, "to", NODE))] == [
        [0, 0, 2, 2, 2, 2, 2, 2],
        [0, 2],
    ]
    log_degree = tiny.label(NODE, "log_degree").values
    assert np.allclose(np.expm1(log_degree), [0, 2, 0, 0, 0, 0, 0])
