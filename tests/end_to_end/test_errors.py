"""A user's mistake is named and ends with its code: no traceback, no hang, said once."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from job.runtime import check_devices
from mtl.errors import ConfigError
from mtl.graphs.writer import GraphWriter

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
COMMANDS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("job", "launch")
    for path in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)

CONFIG_MISTAKES = {
    "typo in a key": ("optim.lrr=1", ["optim.lrr", "did you mean 'lr'", "allowed: algorithm, lr"]),
    "typo in a section": ("trian.epochs=1", ["trian", "did you mean 'train'", "allowed: run"]),
    "wrong type": ("train.epochs=many", ["train.epochs", "integer", "'many'"]),
    "out of range": ("train.epochs=0", ["train.epochs", "greater than 0", "0"]),
    "unknown type": ("model.encoder.type=sag", ["model.encoder", "'sag'", "did you mean 'sage'"]),
    "missing key": ("tasks.value={type: node_regression}", ["tasks.value.label", "required"]),
    "missing label": ("tasks.value.label=vlaue", ["tasks.value.label", "did you mean 'value'"]),
    "wrong kind": ("tasks.value.label=churn", ["tasks.value.label", "'churn'", "value"]),
    "node type": ("tasks.value.node_type=nod", ["tasks.value.node_type", "'nod'", "node"]),
    "split": ("tasks.value.split=randm", ["tasks.value.split", "did you mean 'random'", "few"]),
    "hops": ("loader.num_neighbors=[5]", ["loader.num_neighbors", "num_layers", "1", "2"]),
    "metric": ("evaluate.select=value/r3", ["evaluate.select", "'value/r3'", "value/r2"]),
    "no task": ("tasks={}", ["tasks", "at least one"]),
    "fp16 without GPU": ("train.precision=fp16", ["train.precision", "fp16", "bf16"]),
    "broken YAML": ("optim=[", ["optim", "override"]),
}


@pytest.mark.parametrize("mistake", CONFIG_MISTAKES)
def test_a_mistake_in_the_configuration_is_named_and_ends_with_64(mistake, train, tmp_path):
    override, words = CONFIG_MISTAKES[mistake]
    ending = train(tmp_path, override)
    assert_says(ending, 64, *words)


def test_all_mistakes_are_named_at_once(train, tmp_path):
    ending = train(tmp_path, "optim.lrr=1", "train.epochs=many", "model.encoder.type=sag")
    assert_says(ending, 64, "optim.lrr", "train.epochs", "model.encoder")


@pytest.mark.parametrize("argument", ["nowhere.yaml", str(ROOT), f"{SMOKE}.yaml"])
def test_a_configuration_that_cannot_be_read_ends_with_64(argument, start, tmp_path):
    assert_says(start(tmp_path, argument).end(), 64, argument)


def test_two_configurations_end_with_64(start, tmp_path):
    assert_says(start(tmp_path, SMOKE, SMOKE).end(), 64, "one configuration file")


@pytest.mark.parametrize("override", ["optim.lrr=1", "tasks.value.label=vlaue"])
def test_two_processes_name_a_mistake_once(override, train, tmp_path):
    ending = train(tmp_path, override, nproc=2)
    assert_says(ending, 64, override.split("=")[0])


def test_a_wrong_configuration_leaves_no_run_directory(train, tmp_path):
    train(tmp_path, "optim.lrr=1")
    assert not (tmp_path / "runs").exists()


def test_the_launcher_names_a_mistake_that_the_workers_find_once(command, tmp_path):
    launch = [str(ROOT / "launch" / "local.py"), "--nproc", "2", SMOKE]
    mistake = ["graph.num_nodes=300", "track.mlflow=null", "tasks.value.label=vlaue"]
    assert_says(command(tmp_path, *launch, *mistake)(), 64, "tasks.value.label")


def test_more_processes_than_gpus_are_refused():
    with pytest.raises(ConfigError, match=r"4 processes.* 2 GPUs.*at most 2"):
        check_devices(4, 2)
    check_devices(2, 2)
    check_devices(4, 0)


DATA_MISTAKES = {
    "label": ("node.node.label.topic.npy", 7, 9, ["row 7", "9", "0 to 2"]),
    "regression label": ("node.node.label.value.npy", 8, np.inf, ["row 8", "inf"]),
    "feature": ("node.node.features.npy", (5, 2), np.nan, ["row 5", "column 2", "nan"]),
    "split": ("node.node.split.random.npy", 4, 7, ["row 4", "7", "1 train"]),
    "source of an edge": ("edge.node.to.node.row.npy", 3, 60, ["row 3", "60", "0 to 59"]),
    "colptr": ("edge.node.to.node.colptr.npy", 2, 10**6, ["row 3", "never falling"]),
}


@pytest.mark.parametrize("mistake", DATA_MISTAKES)
def test_a_mistake_in_the_data_is_named_and_ends_with_65(mistake, graph, train, tmp_path):
    file, place, value, words = DATA_MISTAKES[mistake]
    corrupt(graph, file, place, value)
    assert_says(train(tmp_path, *on(graph)), 65, str(graph / file), *words)


def test_two_processes_name_wrong_data_once(graph, train, tmp_path):
    corrupt(graph, "node.node.features.npy", (5, 2), np.nan)
    assert_says(train(tmp_path, *on(graph), nproc=2), 65, "row 5, column 2")


def test_an_array_that_changed_since_it_was_written_ends_with_65(graph, train, tmp_path):
    file = graph / "node.node.features.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    assert_says(train(tmp_path, *on(graph)), 65, str(file), "SHA-256")


def test_a_graph_folder_that_is_not_there_ends_with_65(train, tmp_path):
    assert_says(train(tmp_path, *on(tmp_path / "nowhere")), 65, str(tmp_path / "nowhere"))


def test_a_split_without_labels_ends_with_64(graph, train, tmp_path):
    ending = train(tmp_path, *on(graph), "tasks.topic.split=train_only")
    assert_says(ending, 64, "tasks.topic", "val split", "'train_only'", "'topic'")


def test_a_whole_graph_folder_trains(graph, train, tmp_path):
    assert train(tmp_path, *on(graph)).code == 0


def test_numbers_that_are_not_finite_end_with_76(train, tmp_path):
    ending = train(tmp_path, "optim.lr=1e30", "train.precision=fp32", nproc=2)
    assert_says(ending, 76, "step", "not finite", "optim.lr")
    assert json.loads((tmp_path / "runs" / "smoke" / "exit.json").read_text())["code"] == 76


def test_a_run_directory_that_cannot_be_written_ends_with_73(train, tmp_path):
    (tmp_path / "file").touch()
    assert_says(train(tmp_path, "run.dir=file/run", nproc=2), 73, "file/run")


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_fast(path):
    command = [sys.executable, "-X", "importtime", ROOT / path, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "accelerate", "mlflow", "torch_geometric", "numba", "pandas"}
    assert "usage" in done.stdout.lower()


def test_a_mistake_is_found_before_anything_slow_is_imported():
    program = (
        "import sys\nfrom job.config import load\nfrom mtl.errors import ConfigError\n"
        "try: load(['optim.lrr=1'])\n"
        "except ConfigError: print({'accelerate', 'mlflow', 'torch.distributed.run'} & "
        "set(sys.modules))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def graph(tmp_path):
    """A graph folder of 60 nodes with one label to classify and one to regress."""
    rng = np.random.default_rng(0)
    writer = GraphWriter(tmp_path / "graph", name="made")
    writer.add_nodes("node", 60, rng.random((60, 4), np.float32))
    writer.add_label("node", "topic", "class", rng.integers(3, size=60), num_classes=3)
    writer.add_label("node", "value", "regression", rng.random(60))
    writer.add_split("node", "random", np.repeat([1, 2, 3], 20))
    writer.add_split("node", "train_only", np.ones(60))
    writer.add_edges(("node", "to", "node"), *rng.integers(60, size=(2, 240)))
    writer.finish()
    return writer.folder


def on(graph):
    """Return overrides that train on a graph folder."""
    tasks = "{topic: {type: node_classification, label: topic}, value: {type: node_regression, "
    return [f"graph={{type: folder, path: {graph}}}", f"tasks={tasks}label: value}}}}"]


def corrupt(graph, file, place, value):
    """Put a wrong value into an array, and its SHA-256 into graph.json."""
    array = np.load(graph / file)
    array[place] = value
    before = hashlib.sha256((graph / file).read_bytes()).hexdigest()
    np.save(graph / file, array)
    after = hashlib.sha256((graph / file).read_bytes()).hexdigest()
    manifest = graph / "graph.json"
    manifest.write_text(manifest.read_text().replace(before, after))


def assert_says(ending, code, *words):
    """All processes end with this code; one of them says these words, once and as a message."""
    assert ending.codes == [code] * len(ending.codes), ending
    assert [word for word in words if word not in ending.stderr] == [], ending.stderr
    assert "Traceback" not in ending.stderr
    assert ending.stderr.count("error:") == 1, ending.stderr
