"""What is asked of a prediction is checked first; its chunks and columns follow from the graph."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from job.config import CONFIGS
from job.predict import read
from job.prediction import Pass, segments
from job.prediction_columns import predicted
from job.prediction_files import claim, is_whole, part_path, write_part
from job.prediction_inputs import check_alike, read_pairs
from mtl.errors import ConfigError, DataError
from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import BUYS, Marketplace
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.tasks import Task
from mtl.tasks._asked import ask
from mtl.tasks._elsewhere import bind_elsewhere
from mtl.tasks.bound import bind_tasks

SMALL = Marketplace(num_users=200, num_items=60, num_shops=10)
ENDS = ("user", "item")


@pytest.fixture
def run(tmp_path):
    """A run directory of the marketplace, as far as the command line is concerned."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text((CONFIGS / "marketplace.yaml").read_text())
    return folder


MISTAKES = {
    "split=tset": ["split", "all, train, val, test", "'tset'"],
    "tasks=chrun": ["'chrun'", "did you mean 'churn'", "interests"],
    "tasks=buys": ["buys", "pairs="],
    "checkpoint=newest": ["best, last or a step", "'newest'"],
    "embeddings=yes": ["embeddings", "true, false"],
    "pairs=nowhere.csv": ["pairs", "'nowhere.csv'"],
    "graph.path=nowhere": ["graph.path", "'nowhere'"],
    "chekpoint=best": ["chekpoint", "did you mean 'checkpoint'"],
    "evaluate.batch_sice=3": ["evaluate.batch_sice", "did you mean 'batch_size'"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_what_is_allowed(mistake, run, tmp_path):
    with pytest.raises(ConfigError) as caught:
        read([str(run), str(tmp_path / "out"), mistake])
    assert [word for word in MISTAKES[mistake] if word not in str(caught.value)] == []


def test_a_run_directory_is_no_place_for_predictions(run, tmp_path):
    with pytest.raises(ConfigError, match="is a run directory"):
        read([str(run), str(run)])
    with pytest.raises(ConfigError, match="expected RUN_DIR"):
        read([str(tmp_path / "nothing"), str(tmp_path / "out")])


def test_pairs_in_temporal_sampling_need_a_time(run, tmp_path):
    (tmp_path / "pairs.csv").write_text("src,dst\n1,2\n")
    argv = [str(run), str(tmp_path / "out"), f"pairs={tmp_path / 'pairs.csv'}"]
    with pytest.raises(ConfigError, match=r"loader.seed_time"):
        read([*argv, "loader.temporal=last"])


def test_links_are_left_out_until_pairs_are_listed(run, tmp_path):
    (tmp_path / "pairs.csv").write_text("src,dst\n1,2\n")
    argv = [str(run), str(tmp_path / "out")]
    assert "buys" not in read(argv).tasks
    assert "buys" in read([*argv, f"pairs={tmp_path / 'pairs.csv'}"]).tasks


@pytest.fixture(scope="module")
def store():
    return open_graph(SMALL)


@pytest.fixture(scope="module")
def tasks(store):
    labels = {
        "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
        "value": {"type": "node_regression", "node_type": "user", "label": "value"},
        "interests": {"type": "node_multilabel", "node_type": "user", "label": "interests"},
        "returned": {
            "type": "edge_classification",
            "edge_type": "user__buys__item",
            "label": "returned",
        },
    }
    return bind_tasks({name: Task.read(task) for name, task in labels.items()}, store)


@pytest.mark.parametrize("names", [["churn", "value"], ["returned"], []])
@pytest.mark.parametrize("split", ["all", "train", "val", "test"])
def test_every_row_of_a_split_is_in_one_segment(names, split, tasks):
    some = [tasks[name] for name in names]
    num_rows = len(some[0].split) if some else 50
    found = np.concatenate([s.seeds for s in segments(some, num_rows, split)] or [[]])
    number = {"train": 1, "val": 2, "test": 3}.get(split)
    wanted = range(num_rows)
    if number is not None:
        wanted = np.flatnonzero(some[0].split == number).tolist() if some else []
    assert sorted(found) == list(wanted)


def test_what_evaluation_counts_comes_first_and_in_its_order(tasks):
    some = [tasks["churn"], tasks["value"]]
    first = segments(some, 200, "all")[0]
    wanted = np.union1d(some[0].seeds("test"), some[1].seeds("test"))
    assert first.split == "test"
    assert first.ordered(first.chunk_size(16)).tolist() == wanted.tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
def test_chunks_hold_every_seed_once_and_a_tenth_of_the_edges_at_most(batch_size, tasks):
    edges = len(tasks["returned"].split)
    for segment in segments([tasks["returned"]], edges, "all"):
        size = segment.chunk_size(batch_size)
        assert sorted(segment.ordered(size)) == segment.seeds.tolist()
        assert size <= batch_size
        if segment.spread:
            assert size <= max(-(-len(segment.seeds) // 10), 1)


def test_edges_into_one_node_are_scattered_over_the_chunks(tasks, store):
    bound = tasks["returned"]
    train = next(s for s in segments([bound], len(bound.split), "all") if s.split == "train")
    size = train.chunk_size(64)
    of_item = {
        int(e): int(i) for e, i in zip(train.seeds, bound.hiding.ends(train.seeds)[1], strict=True)
    }
    ordered = train.ordered(size)
    for start in range(0, len(ordered), size):
        items = [of_item[int(edge)] for edge in ordered[start : start + size]]
        most = max(np.bincount(list(of_item.values())))
        assert max(np.bincount(items)) <= most * size / len(ordered) + 2


def test_parts_are_numbered_on_and_cover_all_chunks(tasks):
    bound = tasks["returned"]
    job = Pass({"returned": ask(bound)}, {}, segments([bound], len(bound.split), "all"))
    parts = list(job.parts(3))
    assert [p.number for _, some in parts for p in some] == list(
        range(sum(len(p) for _, p in parts))
    )
    for segment, some in parts:
        chunks = [chunk for part in some for chunk in part.chunks]
        assert chunks == list(range(-(-len(segment.seeds) // segment.chunk_size(3))))


def test_without_any_row_there_is_one_empty_part(tasks, store):
    job = Pass({"churn": ask(tasks["churn"])}, {}, [])
    ((segment, (part,)),) = job.parts(16)
    assert (len(segment.seeds), len(part.chunks)) == (0, 0)
    columns = predicted(tasks["churn"], store, "all", {})
    empty = columns.table(np.empty(0, np.int64), torch.empty(0, 2))
    some = columns.table(np.arange(3), torch.zeros(3, 2))
    assert empty.schema.equals(some.schema, check_metadata=True)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A graph with ids that are words, and classes that have names."""
    writer = GraphWriter(tmp_path_factory.mktemp("named") / "graph", name="named")
    writer.add_nodes("user", 6, np.eye(6, dtype=np.float32), ids=["007", "b", "c", "d", "e", "é"])
    writer.add_nodes("item", 3, np.eye(3, dtype=np.float32), ids=[10, 20, 30])
    colour = [0, 1, -1, 0, 1, 0]
    writer.add_label("user", "colour", "class", colour, num_classes=2, classes=["red", "blue"])
    several = [[0, 1], [-1, 1], [1, 0], [0, 1], [1, 0], [-1, -1]]
    writer.add_label("user", "tags", "multilabel", several, num_classes=2, classes=["x", "y"])
    writer.add_split("user", "random", [1, 1, 0, 2, 2, 3])
    writer.add_edges(BUYS, [0, 1, 2, 5], [0, 1, 2, 0])
    writer.finish()
    return GraphStore(writer.folder)


def test_classes_and_ids_come_back_under_their_names(named):
    bound = Task.read({"type": "node_classification", "node_type": "user", "label": "colour"}).bind(
        "colour", named
    )
    odds = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    table = predicted(bound, named, "all", {"run": "r"}).table(np.array([5, 2, 0]), odds)
    found = table.to_pydict()
    assert found["id"] == ["é", "c", "007"]
    assert found["prediction"] == ["blue", "red", "blue"]
    assert found["label"] == ["red", None, "red"]
    assert found["split"] == ["test", None, "train"]
    probabilities = odds.double().softmax(1).float()
    assert found["probabilities"] == probabilities.tolist()
    assert found["probability"] == probabilities.max(1).values.tolist()
    assert json.loads(table.schema.metadata[b"classes"]) == ["red", "blue"]


def test_of_a_multilabel_what_is_unknown_is_null(named):
    task = Task.read({"type": "node_multilabel", "node_type": "user", "label": "tags"})
    bound = bind_elsewhere(task, "tags", named, named.info)
    table = predicted(bound, named, "all", {}).table(np.array([1, 5]), torch.zeros(2, 2))
    found = table.to_pydict()
    assert found["label"] == [[None, 1], [None, None]]
    assert found["probabilities"] == [[0.5, 0.5], [0.5, 0.5]]


def test_a_split_alone_leaves_other_rows_out(named):
    task = Task.read({"type": "node_classification", "node_type": "user", "label": "colour"})
    columns = predicted(task.bind("colour", named), named, "val", {})
    found = columns.table(np.arange(6), torch.zeros(6, 2)).to_pydict()
    assert found["id"] == ["d", "e"]


def test_edges_are_called_by_both_ends_and_their_number(store, tasks):
    table = predicted(tasks["returned"], store, "all", {}).table(np.array([4]), torch.zeros(1, 2))
    src, dst = tasks["returned"].hiding.ends(np.array([4]))
    found = table.to_pydict()
    assert (found["src"], found["dst"], found["edge"]) == (src.tolist(), dst.tolist(), [4])
    assert b"edge" in table.schema.metadata


def test_pairs_are_read_by_id_and_words_stay_as_they_are_written(named, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("when,src,dst\n1,007,20\n2,é,10\n")
    src, dst = read_pairs(path, named, ENDS)
    assert (src.tolist(), dst.tolist()) == ([0, 5], [1, 0])
    pq.write_table(pa.table({"a": ["b"], "b": [30]}), tmp_path / "pairs.parquet")
    src, dst = read_pairs(tmp_path / "pairs.parquet", named, ENDS)
    assert (src.tolist(), dst.tolist()) == ([1], [2])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("src,dst\n007,40\n", "column 'dst': no 'item' has the id 40"),
        ("src,dst\n7,10\n", "column 'src': no 'user' has the id '7'"),
        ("src,dst,x\n007\n", "cannot be read"),
        ("a,b,c\n007,10,1\n", "expected columns src and dst, found a, b, c"),
        ("src,dst\n007,\n", "column 'dst'"),
        ("", "cannot be read"),
    ],
)
def test_wrong_pairs_are_named(content, words, named, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_pairs(path, named, ENDS)
    assert words in str(caught.value)


def test_another_folder_of_predictions_is_refused_by_its_difference(tmp_path):
    claim(tmp_path, {"split": "all", "evaluate": {"batch_size": 4}})
    claim(tmp_path, {"split": "all", "evaluate": {"batch_size": 4}})
    with pytest.raises(ConfigError, match=r"evaluate.batch_size: 4 there, 8 here"):
        claim(tmp_path, {"split": "all", "evaluate": {"batch_size": 8}})


def test_a_part_that_cannot_be_written_to_its_end_has_no_name(tmp_path, monkeypatch):
    path, table = part_path(tmp_path / "task", 0), pa.table({"row": [1]})
    write = pq.write_table

    def write_and_fail(*args, **kwargs):
        write(*args, **kwargs)
        raise OSError("the disk is full")

    monkeypatch.setattr(pq, "write_table", write_and_fail)
    with pytest.raises(OSError, match="full"):
        write_part(path, table)
    assert not path.exists()
    assert list(tmp_path.glob("**/*.parquet")) == []


def test_a_part_counts_where_it_can_be_read(tmp_path):
    path = part_path(tmp_path / "task", 3)
    write_part(path, pa.table({"row": [1]}))
    assert path.name == "part-00003.parquet"
    assert is_whole(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert not is_whole(path)
    assert not is_whole(part_path(tmp_path / "task", 4))


def test_a_graph_of_another_kind_is_refused_with_all_that_differs(named, store):
    with pytest.raises(ConfigError) as caught:
        check_alike(store.info, named)
    said = str(caught.value)
    assert "node types: item, shop, user there, item, user here" in said
    assert "features of user: 32 columns there, 6 here" in said
    assert "reverse of user__buys__item" in said
    check_alike(store.info, store)
