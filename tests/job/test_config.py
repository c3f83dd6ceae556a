"""One file and overrides become a JobConfig, or every mistake at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from job.config import CONFIGS, load, read, tree_of
from job.yaml12 import parse, render
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
MISTAKES = {
    "optim.lrr=1": r"optim\.lrr: unknown key; did you mean 'lr'\? \(allowed: algorithm, lr,",
    "optin={}": r"optin: unknown key; did you mean 'optim'\?",
    "optim.lr=fast": r"optim\.lr: .*valid number, found 'fast'",
    "optim.lr=0": r"optim\.lr: .*greater than 0, found 0",
    "optim.lr=null": r"optim\.lr: .*found None",
    "train.epochs=1.5": r"train\.epochs: .*valid integer, found 1\.5",
    "train.epochs=true": r"train\.epochs: .*found True",
    "train.precision=fp8": r"train\.precision: .*'fp16'.*found 'fp8'",
    "train={epochs: 1, precision: fp64, compression: bf16}": r"train\.compression: bf16 rounds",
    "run.seed='3'": r"run\.seed: .*valid integer, found '3'",
    "run=null": r"run: .*found None",
    "model.sharing.type=hart": r"model\.sharing: unknown type 'hart'; did you mean 'hard'\?.*mimo",
    "model.encoder.heads=2": r"model\.encoder\.heads: unknown key.*\(allowed: num_layers",
    "model.encoder.dropout=1": r"model\.encoder\.dropout: .*less than 1, found 1",
    "graph.type=cache": r"graph: unknown type 'cache'.*\(allowed: amazon, folder, ",
    "graph.type=null": r"graph: `type` is missing \(allowed:",
    "tasks.value=5": r"tasks\.value: expected a mapping with a `type`, found 5",
    "tasks.value.type=bound": r"tasks\.value: unknown type 'bound'",
    "tasks.value.los=mse": r"tasks\.value\.los: unknown key; did you mean 'loss'\?",
    "tasks.value.label=null": r"tasks\.value\.label: .*found None",
    "tasks.value.weight=0": r"tasks\.value\.weight: .*greater than 0",
    "tasks.a-b={type: node_regression, label: x}": r"tasks\.a-b: no name for a task",
    "tasks.train={type: node_regression, label: x}": r"tasks\.train: no name for a task",
    "run.seed=-1": r"run\.seed: .*greater than or equal to 0",
    "run.seed=9223372036854775808": r"run\.seed: .*less than",
    "run.name=''": r"run\.name: '' is no name",
    "optim.lr=.inf": r"optim\.lr: .*finite",
    "optim.lr={[a]: 1}": r"override optim\.lr",
    "run.name=!!int abc": r"override run\.name",
    "tasks={}": r"tasks: a job needs at least one task",
    "loader.num_neighbors=[0, 5]": r"loader\.num_neighbors: must be -1 \(all\) or at least 1",
    "loader.num_neighbors=[5]": r"loader\.num_neighbors: has 1 hops, but .*num_layers is 2",
    "loader.temporal=latest": r"loader\.temporal: .*'uniform' or 'last'.*found 'latest'",
    "loader.rates={node: 0}": r"loader\.rates\.node: .*greater than 0",
    "loader.seed_time={train: 99999999999999999999, val: 1, test: 2}": (
        r"loader\.seed_time: train must be a number of 64 bits"
    ),
    "tasks.l={type: link_prediction, num_candidates: 5}": r"tasks\.l: hits: 10 is more than num_c",
    "tasks.l={type: link_prediction, num_negatives: 0}": r"tasks\.l\.num_negatives: .*equal to 1",
    "model.freeze=trunk": r"model\.freeze: ",
    "evaluate.num_neighbors=[5]": r"evaluate\.num_neighbors: has 1 hops",
    "evaluate.select=val/r2": r"evaluate\.select: expected mean_gain or .*found 'val/r2'",
    "model.encoder={type: gat, num_heads: 3}": r"num_heads \(3\) must divide dim \(128\)",
    "optim.lr.x=1": r"optim\.lr\.x: optim\.lr is 0\.003, not a mapping",
    "optim={lr: 1, lr: 2}": r"override optim:1:9: the key 'lr' stands twice",
}


@pytest.mark.parametrize("assignment", MISTAKES)
def test_a_mistake_is_named_by_its_path_with_what_is_allowed(assignment):
    with pytest.raises(ConfigError, match=f"(?m)^.*{MISTAKES[assignment]}"):
        load([assignment])


@pytest.mark.parametrize("rule", ["weighted=true", "temporal=last"])
def test_gcn_counts_on_uniform_draws(rule):
    message = rf"loader\.{rule.split('=')[0]}: model\.encoder gcn normalises with the degrees"
    with pytest.raises(ConfigError, match=message):
        load(["model.encoder.type=gcn", f"loader.{rule}"])


def test_all_mistakes_are_told_at_once_each_in_a_line():
    wrong = [
        "optim.lrr=1",
        "train.epochs=x",
        "tasks.value.los=1",
        "tasks.churn.type=a",
        "graph.a=1",
    ]
    with pytest.raises(ConfigError) as caught:
        load(wrong)
    paths = {line.split(":")[0] for line in str(caught.value).splitlines()}
    expected = {"optim.lrr", "train.epochs", "tasks.value.los", "tasks.churn", "graph.a"}
    assert paths == expected


def test_an_override_changes_one_nested_option_alone():
    before, after = tree_of(load([])), tree_of(load(["tasks.value.weight=0.5", "model.dim=64"]))
    before["tasks"]["value"]["weight"], before["model"]["dim"] = 0.5, 64
    assert after == before


def test_a_task_is_removed_by_null_and_a_new_one_can_be_added():
    config = load(["tasks.churn=null", "tasks.more={type: node_regression, label: value}"])
    assert list(config.tasks) == ["segment", "value", "interests", "more"]


def test_the_run_directory_follows_from_the_name_unless_given():
    assert load(["run.name=a"]).run.dir == Path("runs/a")
    assert load(["run.name=a", "run.dir=/x/y"]).run.dir == Path("/x/y")


def test_without_a_file_it_is_the_quick_start():
    assert load([]) == load([str(CONFIGS / "quickstart.yaml")])


def test_an_encoder_without_hops_takes_any_number_of_neighbours():
    assert (
        load(["model.encoder={type: mlp}", "loader.num_neighbors=[5]"]).model.encoder.type == "mlp"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_configuration_survives_writing_and_reading(path):
    config = load([str(path)])
    tree = parse(render(tree_of(config)), "config.yaml")
    assert tree == tree_of(config)
    assert read(tree, []) == config


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "list.yaml").write_text("- a")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "list.yaml": "expected a mapping, found list",
        "bytes.yaml": "cannot be read as text",
        "none.yaml": "no such file.*quickstart.yaml",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load([str(tmp_path / name)])
    with pytest.raises(ConfigError, match="expected one configuration file, found a, b"):
        load(["a", "b"])


def run_python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True)


def test_reading_a_configuration_imports_nothing_heavy():
    code = (
        "import sys, job.config; print('torch' in sys.modules);"
        "job.config.load(['model.encoder.type=gat']);"
        "print({'mlflow', 'accelerate', 'torch_geometric', 'torchmetrics'} & set(sys.modules))"
    )
    assert run_python("-c", code).stdout.split() == ["False", "set()"]


def test_a_wrong_key_ends_the_job_with_64_before_anything_is_written(tmp_path):
    run_dir = tmp_path / "run"
    done = run_python("job/train.py", f"run.dir={run_dir}", "optim.lrr=1", "train.epochs=x")
    assert done.returncode == 64
    assert done.stderr.startswith("error: ")
    assert "optim.lrr: unknown key; did you mean 'lr'?" in done.stderr
    assert "train.epochs: " in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not run_dir.exists()
