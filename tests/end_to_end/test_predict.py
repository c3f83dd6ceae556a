"""Predictions come back under the user's ids, are those that evaluation saw, and survive a kill."""

import json
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from job.config import load
from mtl.graphs.cache import open_graph
from mtl.graphs.writer import GraphWriter
from mtl.tasks.bound import bind_tasks

ROOT = Path(__file__).parents[2]
MARKET = str(ROOT / "job" / "configs" / "marketplace.yaml")
SMALL = [
    *("graph.num_users=60", "graph.num_items=40", "graph.num_shops=8", "graph.avg_purchases=3"),
    *("model.dim=16", "loader.num_neighbors=[3,3]", "train.epochs=1", "train.precision=fp64"),
    *("tasks.quality={type: node_regression, node_type: shop, label: quality}", "optim.lr=1e-2"),
    "tasks.looks={type: feature_reconstruction, node_type: item}",
    *("track.mlflow=null", "run.dir=run"),
]
ALONE = ["evaluate.batch_size=1", "evaluate.num_neighbors=[-1,-1]"]
SAMPLED = ["evaluate.batch_size=7", "evaluate.num_neighbors=[3,2]"]
COMPUTED = {"prediction", "probability", "probabilities", "score", "embedding"}
LABELS = {"churn", "value", "interests", "category", "returned", "quality"}


@pytest.fixture(scope="module")
def market(start, tmp_path_factory):
    """Folder of a run on users, items, shops and purchases; seeds were evaluated one by one."""
    folder = tmp_path_factory.mktemp("market")
    ending = start(folder, MARKET, *SMALL, *ALONE).end()
    assert ending.code == 0, ending.stderr
    return folder


@pytest.fixture(scope="module")
def molecules(start, tmp_path_factory):
    """Folder of a run on small graphs, labelled as a whole, and their bonds."""
    folder = tmp_path_factory.mktemp("molecules")
    write_molecules(folder / "graph")
    tasks = {
        "kind": "{type: graph_classification, label: kind}",
        "toxic": "{type: graph_multilabel, label: toxic}",
        "mass": "{type: graph_regression, label: mass}",
        "length": "{type: edge_regression, label: length}",
    }
    overrides = [f"tasks.{name}={task}" for name, task in tasks.items()]
    smoke = ["tasks.segment=null", "tasks.value=null", "train.epochs=1", "track.mlflow=null"]
    graph = f"graph={{type: folder, path: {folder / 'graph'}}}"
    config = str(ROOT / "job" / "configs" / "smoke.yaml")
    precision = ["train.precision=fp64", "run.dir=run", "evaluate.select=mass/r2"]
    ending = start(folder, config, graph, *overrides, *smoke, *precision, *ALONE).end()
    assert ending.code == 0, ending.stderr
    return folder


@pytest.fixture
def predict(start):
    """Run job/predict.py in the folder of a run; return how it ended."""

    def predict(folder, out, *options, nproc=1):
        return start(folder, "run", str(out), *options, nproc=nproc, script="job/predict.py").end()

    return predict


@pytest.fixture(scope="module")
def whole(market, start):
    """Predictions of everything by one process: all tasks, embeddings and pairs."""
    pq.write_table(pa.table({"src": [0, 1, 2, 0], "dst": [5, 5, 6, 5]}), market / "few.parquet")
    ending = start(market, "run", "whole", *everything(), script="job/predict.py").end()
    assert ending.code == 0, ending.stderr
    return market / "whole"


def everything():
    names = ",".join(sorted({*LABELS, "buys", "looks"}))
    return [f"tasks={names}", "pairs=few.parquet", "embeddings=true", *SAMPLED]


@pytest.mark.parametrize("name", sorted(LABELS))
def test_metrics_of_the_files_are_those_of_the_evaluation(name, market, predict):
    out = market / "evaluated"
    if not out.exists():
        assert predict(market, out, "split=test").code == 0
    assert_same_metrics(market, name, labelled(out / name))


@pytest.mark.parametrize("name", ["kind", "toxic", "mass", "length"])
def test_metrics_of_graphs_and_bonds_are_those_of_the_evaluation(name, molecules, predict):
    out = molecules / "evaluated"
    if not out.exists():
        assert predict(molecules, out, "split=test").code == 0
    assert_same_metrics(molecules, name, labelled(out / name))


def test_scores_of_listed_pairs_are_those_of_the_evaluation(market, predict, tmp_path):
    bound = bound_tasks(market)["buys"]
    pairs = bound.pairs(bound.seeds("test"), "test", 0)
    src, dst = pairs.src[:, :2].ravel(), pairs.dst[:, :2].ravel()
    pq.write_table(pa.table({"src": src, "dst": dst}), tmp_path / "pairs.parquet")
    options = ["tasks=buys", f"pairs={tmp_path / 'pairs.parquet'}"]
    assert predict(market, tmp_path / "out", *options).code == 0
    found = read(tmp_path / "out" / "buys")
    assert found["src"].tolist() == src.tolist()
    edge = np.tile([1, 0], len(src) // 2)
    assert found["is_edge"].tolist() == edge.astype(bool).tolist()
    wanted = metrics(market)["test/buys/auroc"]
    assert roc_auc_score(edge, found["score"]) == pytest.approx(wanted, abs=1e-6)


def test_reconstructed_features_are_those_of_the_evaluation(market, predict, tmp_path):
    assert predict(market, tmp_path, "tasks=looks", "split=test").code == 0
    found = read(tmp_path / "looks")
    bound, rows = bound_tasks(market)["looks"], found["row"].to_numpy()
    assert sorted(rows) == bound.seeds("test").tolist()
    told, true = np.stack(found["prediction"]), bound.targets(rows).numpy()
    cosine = (told * true).sum(1) / np.linalg.norm(told, axis=1) / np.linalg.norm(true, axis=1)
    assert cosine.mean() == pytest.approx(metrics(market)["test/looks/cosine"], abs=1e-6)


def test_one_owner_is_evaluated_to_the_bit_with_drawn_neighbours(start, predict, tmp_path):
    smoke = str(ROOT / "job" / "configs" / "smoke.yaml")
    small = ["graph.num_nodes=300", "train.epochs=1", "train.precision=fp64", "run.dir=run"]
    batches = ["evaluate.batch_size=16", "evaluate.num_neighbors=[2,2]", "track.mlflow=null"]
    assert start(tmp_path, smoke, *small, *batches).end().code == 0
    assert predict(tmp_path, "out").code == 0
    found = labelled(tmp_path / "out" / "value")
    test = found[found["split"] == "test"]
    error = np.abs(test["label"].to_numpy(float) - test["prediction"].to_numpy(float)).mean()
    assert error == pytest.approx(metrics(tmp_path)["test/value/mae"], rel=1e-9)


def test_every_row_is_predicted_once(whole, market):
    bound = bound_tasks(market)
    for name in sorted(LABELS):
        number = "edge" if name == "returned" else "row"
        assert sorted(read(whole / name)[number]) == list(range(len(bound[name].split)))
    assert len(read(whole / "buys")) == 4
    assert {path.name for path in (whole / "embeddings").iterdir()} == {"user", "item", "shop"}


def test_an_embedding_is_what_the_head_reads(whole, market):
    (folder,) = (market / "run" / "checkpoints").iterdir()
    head = {
        name.removeprefix("heads.value."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name.startswith("heads.value.")
    }
    x = np.stack(read(whole / "embeddings" / "user")["embedding"])
    raw = x @ head["linear.weight"].T + head["linear.bias"]
    told = read(whole / "value")["prediction"]
    np.testing.assert_allclose((head["prior"] + head["scale"] * raw)[:, 0], told, rtol=1e-9)


@pytest.mark.parametrize("nproc", [2, 4])
def test_any_number_of_processes_writes_the_same_files(nproc, whole, market, predict, tmp_path):
    ending = predict(market, tmp_path / "out", *everything(), nproc=nproc)
    assert ending.codes == [0] * nproc, ending.stderr
    assert_same_files(tmp_path / "out", whole)


@pytest.mark.parametrize("nproc", [1, 2])
def test_layers_give_what_all_neighbours_around_each_seed_give(nproc, market, predict, tmp_path):
    tasks, layers = f"tasks={','.join(sorted(LABELS))}", "evaluate.num_neighbors=all"
    assert predict(market, tmp_path / "trees", tasks, *ALONE).code == 0
    ending = predict(market, tmp_path / "layers", tasks, layers, nproc=nproc)
    assert ending.codes == [0] * nproc, ending.stderr
    for name in sorted(LABELS):
        assert_same_frames(*(read(tmp_path / which / name) for which in ("layers", "trees")))


def test_the_test_split_alone_is_predicted_as_with_all(whole, market, predict, tmp_path):
    assert predict(market, tmp_path, "split=test", *SAMPLED).code == 0
    for name in sorted(LABELS):
        alone, of_all = read(tmp_path / name), read(whole / name)
        of_all = of_all[of_all["split"] == "test"].reset_index(drop=True)
        assert_same_frames(alone, of_all)


def test_another_task_beside_it_changes_no_prediction(whole, market, predict, tmp_path):
    assert predict(market, tmp_path, "tasks=value", *SAMPLED).code == 0
    assert_same_frames(read(tmp_path / "value"), read(whole / "value"))


def test_a_part_that_is_missing_or_broken_is_computed_again_and_no_other(
    whole, market, predict, tmp_path
):
    out, options = tmp_path / "out", ["tasks=value,churn", *SAMPLED]
    assert predict(market, out, *options).code == 0
    files = sorted(out.glob("*/part-*.parquet"))
    gone, broken, *others = files
    before = {path: path.stat().st_mtime_ns for path in others}
    gone.unlink()
    broken.write_bytes(broken.read_bytes()[:50])
    (gone.parent / ".part-00000.1.aside").write_bytes(b"half of it")
    ending = predict(market, out, *options, nproc=2)
    assert ending.codes == [0, 0]
    assert "step 2/2" in ending.stderr
    assert {path: path.stat().st_mtime_ns for path in others} == before
    assert sorted(out.glob("*/*")) == files
    assert sorted(out.glob("*/.*")) == []
    assert_same_frames(read(out / "value"), read(whole / "value"))


def test_a_job_that_was_killed_goes_on(market, start, predict, tmp_path):
    options = ["tasks=value,returned", *ALONE]
    assert predict(market, tmp_path / "whole", *options).code == 0
    job = start(market, "run", str(tmp_path / "out"), *options, script="job/predict.py")
    wait_for_parts(tmp_path / "out", 3)
    job.kill(rank=0, number=signal.SIGKILL)
    assert job.end().codes == [-9]
    first = min((tmp_path / "out").glob("*/part-*.parquet"), key=lambda p: p.stat().st_mtime_ns)
    written = first.stat().st_mtime_ns
    assert predict(market, tmp_path / "out", *options).code == 0
    assert first.stat().st_mtime_ns == written
    assert_same_files(tmp_path / "out", tmp_path / "whole")


def test_a_signal_to_one_process_stops_all_with_75_and_the_same_command_goes_on(
    market, start, predict, tmp_path
):
    options = ["tasks=returned", "evaluate.batch_size=1"]
    job = start(market, "run", str(tmp_path / "out"), *options, nproc=2, script="job/predict.py")
    wait_for_parts(tmp_path / "out", 3)
    job.kill(rank=1)
    ending = job.end()
    assert ending.codes == [75, 75], ending.stderr
    assert json.loads((tmp_path / "out" / "exit.json").read_text())["code"] == 75
    parts = list((tmp_path / "out" / "returned").glob("part-*.parquet"))
    assert predict(market, tmp_path / "out", *options).code == 0
    assert len(list((tmp_path / "out" / "returned").glob("part-*.parquet"))) > len(parts)
    numbers = sorted(read(tmp_path / "out" / "returned")["edge"])
    assert numbers == list(range(len(numbers)))


def test_other_options_in_the_folder_are_refused_with_the_difference(market, predict, tmp_path):
    assert predict(market, tmp_path, "tasks=quality").code == 0
    ending = predict(market, tmp_path, "tasks=quality", "split=test", nproc=2)
    assert ending.codes == [64, 64]
    assert "split: 'all' there, 'test' here" in ending.stderr
    assert ending.stderr.count("error:") == 1
    assert "Traceback" not in ending.stderr


def test_mistakes_end_with_64_and_leave_nothing(market, predict, tmp_path):
    for option, words in {
        "tasks=valeu": "did you mean 'value'",
        "tasks=buys": "pairs=",
        "spilt=test": "did you mean 'split'",
    }.items():
        ending = predict(market, tmp_path / "out", option)
        assert ending.code == 64
        assert words in ending.stderr
        assert "Traceback" not in ending.stderr
    assert not (tmp_path / "out").exists()


def test_pairs_that_name_no_node_end_with_65(market, predict, tmp_path):
    (tmp_path / "pairs.csv").write_text("src,dst\n0,1\n0,40\n")
    ending = predict(market, tmp_path / "out", f"pairs={tmp_path / 'pairs.csv'}")
    assert ending.code == 65
    assert "row 1: 40; allowed: 0 to 39" in ending.stderr


SHOP = {
    "colour": "{type: node_classification, node_type: user, label: colour}",
    "tags": "{type: node_multilabel, node_type: user, label: tags}",
    "stars": "{type: edge_regression, edge_type: user__buys__item, label: stars}",
    "buys": "{type: link_prediction, edge_type: user__buys__item, test_share: 0.3}",
    "size": "{type: node_regression, node_type: item, label: size}",
    "looks": "{type: feature_reconstruction, node_type: user}",
}


@pytest.fixture(scope="module")
def shop(start, tmp_path_factory):
    """Folder of a run on users whose ids are words and items whose ids are numbers."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "graph", labelled=True)
    assert train_on(start, folder).code == 0
    return folder


def train_on(start, folder, *overrides):
    tasks = [f"tasks.{name}={task}" for name, task in SHOP.items()]
    smoke = ["tasks.segment=null", "tasks.value=null", "train.epochs=1", "track.mlflow=null"]
    graph = f"graph={{type: folder, path: {folder / 'graph'}}}"
    config = str(ROOT / "job" / "configs" / "smoke.yaml")
    precision = ["train.precision=fp64", "run.dir=run", *ALONE, "model.sharing.type=mmoe"]
    return start(folder, config, graph, *tasks, *smoke, *precision, *overrides).end()


def test_another_graph_is_predicted_without_any_label(shop, predict, tmp_path):
    write_shop(tmp_path / "new", labelled=False, num_new=4)
    write_shop(tmp_path / "old", labelled=False)
    for name in ("old", "new"):
        tasks = "tasks=colour,tags,stars,size,looks"
        ending = predict(shop, tmp_path / f"{name}_out", f"graph.path={tmp_path / name}", tasks)
        assert ending.code == 0, ending.stderr
        assert "warning" not in ending.stderr.lower()
    old, new = (read(tmp_path / f"{name}_out" / "colour") for name in ("old", "new"))
    assert sorted(set(new["id"]) - set(old["id"])) == ["new 0", "new 1", "new 2", "new 3"]
    assert set(new["prediction"]) <= {"blue", "green", "red"}
    assert {"label", "split"}.isdisjoint(new.columns)
    kept = new[new["id"].isin(old["id"])].reset_index(drop=True)
    assert_same_frames(kept, old)  # who is new hears the others, and is not heard
    assert len(read(tmp_path / "new_out" / "stars")) == 300
    assert len(read(tmp_path / "new_out" / "looks")) == 64


def test_an_edge_between_the_nodes_of_a_pair_does_not_give_it_away(shop, predict, tmp_path):
    src, dst = shop_edges()
    pair = (src == src[0]) & (dst == dst[0])
    write_shop(tmp_path / "with", labelled=False)
    write_shop(tmp_path / "without", labelled=False, dropped=pair)
    (tmp_path / "pairs.csv").write_text(f"src,dst\nuser {src[0]},{1000 + dst[0]}\n")
    scores, edges = [], []
    for name in ("with", "without"):
        options = ["tasks=buys", f"pairs={tmp_path / 'pairs.csv'}", f"graph.path={tmp_path / name}"]
        assert predict(shop, tmp_path / f"{name}_out", *options).code == 0
        found = read(tmp_path / f"{name}_out" / "buys")
        scores.append(found["score"][0])
        edges.append(bool(found["is_edge"][0]))
    assert edges == [True, False]
    assert scores[0] == pytest.approx(scores[1], rel=1e-11)


def test_ids_and_classes_come_back_as_the_user_knows_them(shop, predict, tmp_path):
    assert predict(shop, tmp_path, "tasks=colour,stars,size", "split=test").code == 0
    colour, stars = read(tmp_path / "colour"), read(tmp_path / "stars")
    assert colour["id"].str.fullmatch(r"user \d+").all()
    assert set(colour["label"].dropna()) == {"blue", "green", "red"}
    assert read(tmp_path / "size")["id"].min() >= 1000
    assert stars["src"].str.startswith("user").all()
    assert stars["dst"].min() >= 1000
    for name in ("colour", "stars", "size"):
        assert_same_metrics(shop, name, labelled(tmp_path / name))


def test_a_graph_that_differs_is_refused(shop, predict, tmp_path):
    write_shop(tmp_path / "wide", labelled=False, width=5)
    ending = predict(shop, tmp_path / "out", f"graph.path={tmp_path / 'wide'}", nproc=2)
    assert ending.codes == [64, 64]
    assert "features of user: 4 columns there, 5 here" in ending.stderr
    assert "Traceback" not in ending.stderr


def test_learned_vectors_of_nodes_are_refused_on_another_graph(start, predict, tmp_path):
    write_shop(tmp_path / "graph", labelled=True, bare_items=True)
    assert train_on(start, tmp_path).code == 0
    write_shop(tmp_path / "new", labelled=False, bare_items=True, num_new=1)
    ending = predict(tmp_path, "out", f"graph.path={tmp_path / 'new'}")
    assert ending.code == 64
    assert "item has no features: the model learned a vector" in ending.stderr
    assert predict(tmp_path, "same", f"graph.path={tmp_path / 'graph'}").code == 0


def test_where_each_task_has_its_own_embedding_each_has_a_folder(shop, predict, tmp_path):
    assert predict(shop, tmp_path, "tasks=colour,stars", "embeddings=true").code == 0
    folders = {
        str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("embeddings/**/*.parquet")
    }
    wanted = {"embeddings/colour/user", "embeddings/stars/user", "embeddings/stars/item"}
    assert folders == wanted
    found = read(tmp_path / "embeddings/stars/item")
    assert list(found.columns) == ["id", "embedding"]
    assert np.stack(found["embedding"]).shape == (40, 32)


def labelled(folder):
    found = read(folder)
    return found[found["label"].notna()]


def assert_same_metrics(folder, name, found):
    """Compute what scikit-learn makes of the files; compare it with the run's summary."""
    close, label = partial(pytest.approx, abs=1e-6), found["label"]
    wanted = {
        key.rpartition("/")[2]: value
        for key, value in metrics(folder).items()
        if key.startswith(f"test/{name}/")
    }
    assert (found["split"] == "test").all()
    if "r2" in wanted:
        return np.testing.assert_allclose(
            r2_score(label.astype(float), found["prediction"]), wanted["r2"], atol=1e-6
        )
    scores = np.stack(found["probabilities"])
    if "micro_f1" in wanted:
        values = np.array([[np.nan if v is None else v for v in row] for row in label], float)
        known = ~np.isnan(values)
        assert ((scores > 0.5) == values)[known].mean() == close(wanted["accuracy"])
        columns = range(values.shape[1])
        areas = [roc_auc_score(values[known[:, i], i], scores[known[:, i], i]) for i in columns]
        return np.testing.assert_allclose(np.mean(areas), wanted["auroc"], atol=1e-6)
    assert accuracy_score(label, found["prediction"]) == close(wanted["accuracy"])
    if "auroc" in wanted:
        assert roc_auc_score(label, scores[:, 1]) == close(wanted["auroc"])
    return None


def metrics(folder):
    return json.loads((folder / "run" / "summary.json").read_text())["metrics"]


def read(folder):
    """Read a folder of parts as one frame, in the order of what names a row."""
    table = pq.read_table(sorted(folder.glob("part-*.parquet")))
    frame = table.to_pandas()
    name = next(n for n in ("edge", "graph", "id", "row", "score") if n in frame)
    return frame if name == "score" else frame.sort_values(name, ignore_index=True)


def assert_same_frames(found, wanted):
    assert list(found.columns) == list(wanted.columns)
    for name in found.columns:
        left, right = found[name].tolist(), wanted[name].tolist()
        if name in COMPUTED and not any(isinstance(value, str) for value in left):
            np.testing.assert_allclose(np.array(left, float), np.array(right, float), rtol=1e-11)
        else:
            assert repr(left) == repr(right), name


def assert_same_files(found, wanted):
    """The same parts, each with the same rows in the same order."""
    names = sorted(path.relative_to(wanted) for path in wanted.rglob("part-*.parquet"))
    assert names
    assert sorted(path.relative_to(found) for path in found.rglob("part-*.parquet")) == names
    for name in names:
        left, right = pq.read_table(found / name), pq.read_table(wanted / name)
        assert left.schema.equals(right.schema, check_metadata=True)
        assert_same_frames(left.to_pandas(), right.to_pandas())


def bound_tasks(folder):
    config = load([str(folder / "run" / "config.yaml")])
    return bind_tasks(config.tasks, open_graph(config.graph))


def wait_for_parts(folder, number):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/part-*.parquet"))) < number:
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.002)


def write_molecules(folder, num_graphs=60):
    """Write rings of 3 to 6 atoms with labels of every kind, and the length of each bond."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 7, size=num_graphs)
    pointer = np.append(0, np.cumsum(sizes))
    writer = GraphWriter(folder, name="molecules")
    features = rng.standard_normal((pointer[-1], 4), np.float32)
    writer.add_nodes("atom", int(pointer[-1]), features)
    writer.add_collection("molecule", "atom", pointer)
    classes = ["acid", "base", "salt"]
    writer.add_label(
        "molecule", "kind", "class", np.arange(num_graphs) % 3, num_classes=3, classes=classes
    )
    toxic = rng.integers(-1, 2, size=(num_graphs, 2))
    writer.add_label("molecule", "toxic", "multilabel", toxic, num_classes=2, classes=["a", "b"])
    writer.add_label("molecule", "mass", "regression", sizes + rng.normal(size=num_graphs))
    writer.add_split("molecule", "random", np.arange(num_graphs) // 3 % 3 + 1)
    nodes = np.arange(pointer[-1])
    last = np.isin(nodes + 1, pointer)
    after = np.where(last, np.repeat(pointer[:-1], sizes), nodes + 1)
    src, dst = np.append(nodes, after), np.append(after, nodes)
    kind = ("atom", "bond", "atom")
    writer.add_edges(kind, src, dst, reverse=kind)
    lengths = features[:, 0][src] + features[:, 0][dst] + rng.normal(size=len(src))
    writer.add_label(kind, "length", "regression", lengths)
    writer.add_split(kind, "random", rng.integers(1, 4, size=len(src)))
    writer.finish()


def shop_edges():
    rng = np.random.default_rng(2)
    return rng.integers(60, size=300), rng.integers(40, size=300)


def write_shop(folder, *, labelled, num_new=0, width=4, bare_items=False, dropped=()):
    """Write users and items; new users buy, and nobody hears of it."""
    rng = np.random.default_rng(1)
    writer, kind = GraphWriter(folder, name="shop"), ("user", "buys", "item")
    ids = [f"user {i}" for i in range(60)] + [f"new {i}" for i in range(num_new)]
    features = rng.standard_normal((70, width), np.float32)[: len(ids)]
    writer.add_nodes("user", len(ids), features, ids=ids)
    items = rng.standard_normal((40, 3), np.float32)
    writer.add_nodes("item", 40, None if bare_items else items, ids=np.arange(40) + 1000)
    src, dst = shop_edges()
    kept = np.ones(300, bool)
    kept[np.flatnonzero(dropped)] = False
    stars, colours = rng.normal(size=300), ["red", "green", "blue"]
    if labelled:
        colour, tags = rng.integers(-1, 3, size=60), rng.integers(-1, 2, size=(60, 2))
        writer.add_label("user", "colour", "class", colour, num_classes=3, classes=colours)
        writer.add_label("user", "tags", "multilabel", tags, num_classes=2)
        writer.add_label("item", "size", "regression", rng.normal(size=40))
        writer.add_split("user", "random", np.arange(60) % 3 + 1)
        writer.add_split("item", "random", np.arange(40) % 3 + 1)
    knows = ("item", "bought_by", "user")
    writer.add_edges(kind, src[kept], dst[kept])
    if labelled:
        writer.add_label(kind, "stars", "regression", stars)
        writer.add_split(kind, "random", rng.integers(1, 4, size=300))
    ours = np.repeat(np.arange(60, len(ids)), 2)
    writer.add_edges(knows, np.append(dst, ours % 40), np.append(src, ours))
    writer.finish()
