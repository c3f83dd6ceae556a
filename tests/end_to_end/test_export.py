"""An exported run predicts what job/predict.py predicts, where nothing of ours is installed."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from sysconfig import get_path
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job.export_folder import NEEDED
from job.export_rows import OpenRun
from job.mlflow_store import open_client
from job.runtime import Runtime
from mtl.errors import ConfigError, DataError
from mtl.graphs.writer import GraphWriter

pytestmark = [  # of mlflow's imports
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
BUYS = ("user", "buys", "item")
TASKS = {
    "colour": "{type: node_classification, node_type: user, label: colour}",
    "tags": "{type: node_multilabel, node_type: user, label: tags}",
    "size": "{type: node_regression, node_type: item, label: size}",
    "stars": "{type: edge_regression, edge_type: user__buys__item, label: stars}",
    "links": "{type: link_prediction, edge_type: user__buys__item}",
}
KEYS = {"colour": ["id"], "tags": ["id"], "size": ["id"], "stars": ["src", "dst"]}
PAIRS = pd.DataFrame({"src": ["user 3", "user 9", "user 3"], "dst": [1005, 1001, 1005]})
SMALL = [
    *(f"tasks.{name}={task}" for name, task in TASKS.items()),
    *("tasks.segment=null", "tasks.value=null", "train.epochs=1", "train.precision=fp32"),
    *("loader.num_neighbors=[3,2]", "loader.batch_size=64", "loader.global_batch_size=64"),
    *("evaluate.batch_size=7", "run.dir=run", "loader.num_threads=1"),
]
STORE = "{uri: 'sqlite:///store.db', log_model: true, register: shop}"


@pytest.fixture(scope="module")
def shop(start, tmp_path_factory):
    """Folder of a run on users with words for ids and items with numbers, and its predictions."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "graph")
    graph = f"graph={{type: folder, path: {folder / 'graph'}}}"
    ending = start(folder, SMOKE, graph, *SMALL, f"track.mlflow={STORE}").end()
    assert ending.code == 0, ending.stderr
    assert "model" not in ending.stderr, ending.stderr
    pq.write_table(pa.Table.from_pandas(PAIRS), folder / "pairs.parquet")
    predict = ["run", "out", f"tasks={','.join(TASKS)}", "pairs=pairs.parquet"]
    assert start(folder, *predict, script="job/predict.py").end().code == 0
    return folder


def write_shop(folder):
    rng = np.random.default_rng(1)
    writer = GraphWriter(folder, name="shop", source={"root": "s3://me:secret@bucket"})
    users, items = (
        rng.standard_normal((60, 4), np.float32),
        rng.standard_normal((40, 3), np.float32),
    )
    writer.add_nodes("user", 60, users, ids=[f"user {i}" for i in range(60)])
    writer.add_nodes("item", 40, items, ids=np.arange(40) + 1000)
    colours = ["red", "green", "blue"]
    colour = rng.integers(-1, 3, size=60)
    writer.add_label("user", "colour", "class", colour, num_classes=3, classes=colours)
    writer.add_label("user", "tags", "multilabel", rng.integers(-1, 2, size=(60, 2)), num_classes=2)
    writer.add_label("item", "size", "regression", rng.normal(size=40))
    writer.add_split("user", "random", np.arange(60) % 3 + 1)
    writer.add_split("item", "random", np.arange(40) % 3 + 1)
    src, dst = np.append(rng.integers(60, size=200), 5), np.append(rng.integers(40, size=200), 7)
    src, dst = np.append(src, 5), np.append(dst, 7)  # bought twice
    writer.add_edges(BUYS, src, dst)
    writer.add_label(BUYS, "stars", "regression", rng.normal(size=202))
    writer.add_split(BUYS, "random", rng.integers(1, 4, size=202))
    writer.add_edges(("item", "bought_by", "user"), dst, src)
    writer.finish()


@cache
def written(folder, task):
    """Return what job/predict.py wrote of a task, without what the graph knows."""
    table = pq.read_table(sorted((folder / "out" / task).glob("*.parquet"))).to_pandas()
    return table.drop(columns=["label", "split"], errors="ignore")


@pytest.fixture(scope="module")
def run(shop):
    """The run that the model holds, opened as the model opens it."""
    run_dir = shop / "run" / "model" / "artifacts" / "run"
    return OpenRun(run_dir, None, Runtime("fp32", None, 1))


def assert_same(found, wanted):
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), wanted.reset_index(drop=True), check_exact=True
    )


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_row_is_predicted_as_in_the_files_whatever_else_is_asked_for(data, shop, run):
    task = data.draw(st.sampled_from(["colour", "tags", "size"]))
    wanted = written(shop, task)
    rows = data.draw(st.lists(st.integers(0, len(wanted) - 1), max_size=30))
    some = wanted.iloc[rows]
    assert_same(run.predict(some[KEYS[task]], task, all_rows=False), some)


@pytest.mark.parametrize("task", sorted(KEYS))
def test_all_rows_are_those_of_the_files(task, shop, run):
    found = run.predict(pd.DataFrame(), task, all_rows=True)
    keys = [*KEYS[task], *(["edge"] if task == "stars" else [])]
    assert_same(found.sort_values(keys), written(shop, task).sort_values(keys))


def test_an_edge_that_is_there_twice_has_two_rows(shop, run):
    pair = pd.DataFrame({"src": ["user 5"], "dst": [1007]})
    found = run.predict(pair, "stars", all_rows=False)
    wanted = written(shop, "stars").merge(pair).sort_values("edge")
    assert len(wanted) >= 2
    assert_same(found, wanted)


def test_pairs_are_scored_as_in_the_files(shop, run):
    assert_same(run.predict(PAIRS, "links", all_rows=False), written(shop, "links"))


def test_tasks_on_the_same_rows_stand_beside_each_other(shop, run, monkeypatch):
    with pytest.raises(ConfigError, match=r"name one of colour, tags, size, stars .*id of user"):
        run.predict(pd.DataFrame({"id": ["user 1"]}), "", all_rows=False)
    on_users = {name: task for name, task in run._tasks.items() if name != "size"}
    monkeypatch.setattr(run, "_tasks", on_users)  # an id can only be that of a user now
    found = run.predict(pd.DataFrame({"id": ["user 1", "user 0"]}), "", all_rows=False)
    names = ["prediction", "probability", "probabilities"]
    assert list(found) == ["id", *(f"colour/{name}" for name in names), "tags/probabilities"]
    colour = written(shop, "colour").set_index("id").loc[["user 1", "user 0"]]
    assert found["colour/prediction"].tolist() == colour["prediction"].tolist()


MISTAKES = [
    ({"id": ["user 1", "nobody"]}, "colour", "column 'id': no 'user' has the id 'nobody'"),
    ({"id": ["user 1", None]}, "colour", "column 'id': no 'user' has the id None"),
    ({"id": [1, "user 1"]}, "colour", "columns id"),
    ({"id": [7]}, "size", "column 'id': no 'item' has the id 7"),
    ({"src": ["user 1"], "dst": [9]}, "stars", "column 'dst': no 'item' has the id 9"),
    ({"src": ["user 1"]}, "stars", "expected a table with columns src, dst, found src"),
    ({}, "colour", "expected a table with columns id, found none"),
    ({"id": ["user 1"]}, "color", "did you mean 'colour'"),
]


@pytest.mark.parametrize(("columns", "task", "words"), MISTAKES)
def test_what_is_not_there_is_named(columns, task, words, run):
    with pytest.raises((ConfigError, DataError)) as caught:
        run.predict(pd.DataFrame(columns), task, all_rows=False)
    assert words in str(caught.value)


def test_an_edge_that_is_not_there_is_named(shop, run):
    there = set(zip(*(written(shop, "stars")[key] for key in ("src", "dst")), strict=True))
    src, dst = next((f"user {u}", 1000) for u in range(60) if (f"user {u}", 1000) not in there)
    pairs = pd.DataFrame({"src": [*written(shop, "stars")["src"][:1], src]})
    pairs["dst"] = [*written(shop, "stars")["dst"][:1], dst]
    with pytest.raises(DataError, match=rf"row 1: no user__buys__item goes from '{src}' to 1000"):
        run.predict(pairs, "stars", all_rows=False)


def test_a_list_of_rows_and_all_rows_exclude_each_other(run):
    with pytest.raises(ConfigError, match="lists 1 rows"):
        run.predict(pd.DataFrame({"id": ["user 1"]}), "colour", all_rows=True)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_in_the_model_is_a_pickle_or_says_where_it_was_made(shop):
    model = shop / "run" / "model"
    ours = [path for path in files(model) if "code" not in path.relative_to(model).parts]
    compiled = {".pyc", ".nbi", ".nbc", ".pkl", ".pt", ".pth", ".bin"}
    assert not [p for p in files(model) if p.suffix in compiled or p.read_bytes()[:1] == b"\x80"]
    assert {path.suffix for path in ours} == {"", ".json", ".py", ".safetensors", ".txt", ".yaml"}
    text = {path: path.read_text() for path in ours if path.suffix != ".safetensors"}
    config = model / "artifacts" / "run" / "config.yaml"
    places = [path for path, words in text.items() if str(shop) in words or str(ROOT) in words]
    assert places == [config]  # where the graph was, for who predicts there
    assert str(shop / "graph") in text[config]
    assert not [path for path, words in text.items() if "secret" in words or "store.db" in words]


def test_the_signature_says_how_rows_are_named_and_what_comes_back(shop):
    described = (shop / "run" / "model" / "MLmodel").read_text()
    for words in (
        '{"type": "any", "name": "id", "required": false}',
        '{"type": "string", "name": "src", "required": false}',
        '{"type": "long", "name": "dst", "required": false}',
        '"name": "probabilities"',
    ):
        assert words in " ".join(described.split())
    example = json.loads((shop / "run" / "model" / "input_example.json").read_text())
    assert example["inputs"] == {"columns": ["id"], "data": [["user 0"], ["user 1"]]}
    assert example["params"] == {"task": "colour"}


def test_the_finished_run_is_a_model_of_its_mlflow_run_and_a_version(shop):
    client = open_client(f"sqlite:///{shop / 'store.db'}")
    (version,) = client.search_model_versions("name = 'shop'")
    summary = json.loads((shop / "run" / "summary.json").read_text())
    assert version.run_id == summary["mlflow_run_id"]
    (output,) = client.get_run(version.run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).artifact_location == version.source
    assert output.step == summary["best_step"]


CLEAN = """
import json, signal, sys
installed, uri, model, folder, tables = sys.argv[1:]
sys.path.append(installed)  # -S: no .pth file has put our own folder there
class Refuse:
    def find_spec(name, path=None, target=None):
        if name in ("torchjd", "qpsolvers", "quadprog", "duckdb", "plotly", "optuna"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse)
import warnings
warnings.simplefilter("ignore")
import mlflow.pyfunc
mlflow.set_tracking_uri(uri)
handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
loaded = mlflow.pyfunc.load_model(model)
import job, mtl, pandas as pd
for task, keys in json.loads(tables).items():
    table = pd.read_parquet(f"{folder}/asked_{task}.parquet")
    loaded.predict(table, params={"task": task}).to_parquet(f"{folder}/{task}.parquet")
wrong = []
for table in ({"src": [5], "dst": [1007]}, {"identity": ["user 1"]}):
    try:
        loaded.predict(pd.DataFrame(table), params={"task": "colour"})
    except Exception as error:
        wrong.append(f"{type(error).__name__}: {error}")
after = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
example = loaded.predict(loaded.input_example, params={"task": "colour"})
print(json.dumps({"code": [job.__file__, mtl.__file__], "wrong": wrong,
    "same_handlers": handlers == after, "example": len(example)}))
"""


@pytest.fixture(scope="module")
def clean(shop, tmp_path_factory):
    """What a process said that has loaded the registered model, and the folder of its answers."""
    folder = tmp_path_factory.mktemp("clean")
    uri = f"sqlite:///{shop / 'store.db'}"
    (version,) = open_client(uri).search_model_versions("name = 'shop'")
    keep_compiled(Path(urlparse(version.source).path))
    for task, keys in KEYS.items():
        asked = written(shop, task)[keys].drop_duplicates()
        asked.to_parquet(folder / f"asked_{task}.parquet")
    arguments = [get_path("purelib"), uri, "models:/shop/1", folder, json.dumps(KEYS)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CLEAN, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), folder


def keep_compiled(model):
    """Give shipped code what ours has compiled: a second start finds as much, 10 s earlier."""
    for path in (ROOT / "mtl").rglob("__pycache__/*.nb?"):
        place = model / "code" / path.relative_to(ROOT)
        place.parent.mkdir(exist_ok=True)
        shutil.copy2(path, place)


@pytest.mark.parametrize("task", sorted(KEYS))
def test_where_nothing_of_ours_is_installed_predictions_are_those_of_the_files(task, clean, shop):
    found, wanted = pd.read_parquet(clean[1] / f"{task}.parquet"), written(shop, task)
    names = [name for name in ("id", "edge") if name in wanted]
    assert_same(found.sort_values(names), wanted.sort_values(names))


def test_only_the_code_in_the_model_runs_there(clean, shop):
    code = clean[0]["code"]
    assert all("artifacts/code/" in path and path.startswith(str(shop)) for path in code), code


def test_mlflow_refuses_a_type_and_we_a_column_that_the_signature_has_not(clean):
    kind, column = clean[0]["wrong"]
    assert "Failed to enforce schema" in kind
    assert "src" in kind
    assert column.endswith("expected a table with columns id, found none that the signature has")


def test_signals_stay_those_of_the_server(clean):
    assert clean[0]["same_handlers"]


def test_the_example_is_answered(clean):
    assert clean[0]["example"] == 2


def test_versions_are_those_that_are_installed_without_what_an_index_has_not(shop):
    lines = (shop / "run" / "model" / "requirements.txt").read_text().split()
    assert [line.split("==")[0] for line in lines] == list(NEEDED)
    assert not [line for line in lines if "+" in line]
