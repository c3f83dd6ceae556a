"""What a replay asks for, refuses, and finds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from job.checkpoint_files import write_folder
from job.config import load, tree_of
from job.replay import Wanted, asked
from job.replay_card import cosines, recorded_of
from job.replay_look import broken_rows, first_broken, gramian
from job.replay_run import check_graph, newest_before
from job.replay_table import compared, few, not_finite
from job.rundir import as_recorded, write_config
from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.tasks.bound import bind_tasks
from mtl.tasks.node_regression import NodeRegression

SMOKE = str(Path(__file__).parents[2] / "job" / "configs" / "smoke.yaml")


def test_what_is_asked_for_is_no_part_of_the_configuration():
    assert asked(["a.yaml", "optim.lr=1"]) == (["a.yaml", "optim.lr=1"], None)
    argv = ["replay=7", "a.yaml", "optim.lr=1"]
    assert asked(argv) == (["a.yaml", "optim.lr=1"], Wanted(7, Path("replay_7")))
    assert asked([*argv, "replay_out=x"]) == (["a.yaml", "optim.lr=1"], Wanted(7, Path("x")))


@pytest.mark.parametrize("argument", ["replay=0", "replay=-1", "replay=last", "replay_out=x"])
def test_what_is_no_step_is_refused(argument):
    with pytest.raises(ConfigError, match="replay: expected a step, the first is 1, found"):
        asked([argument])


@pytest.fixture
def config(tmp_path):
    """The configuration of a run that was started by two processes."""
    loaded = load([SMOKE, f"run.dir={tmp_path}"])
    write_config(sized(loaded, 128), resumes=False)
    return loaded


def sized(config, size):
    """Return the configuration with another global batch size."""
    return replace(config, loader=replace(config.loader, global_batch_size=size))


def test_what_the_run_filled_in_is_taken_from_it(config):
    assert tree_of(as_recorded(sized(config, None))) == tree_of(sized(config, 128))


@pytest.mark.parametrize("override", ["optim.lr=0.5", "train.epochs=4", "loader.batch_size=8"])
def test_another_configuration_is_refused_with_what_differs(override, config, tmp_path):
    with pytest.raises(ConfigError, match=override.split("=")[0]) as error:
        as_recorded(load([SMOKE, f"run.dir={tmp_path}", override]))
    assert f"{tmp_path}/config.yaml is its own" in str(error.value)


def test_places_and_speed_may_differ(config, tmp_path):
    as_recorded(load([SMOKE, f"run.dir={tmp_path}", "loader.num_threads=2", "track.mlflow=null"]))


def test_where_nothing_was_trained_nothing_is_made_again(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.yaml: nothing was trained there"):
        as_recorded(load([SMOKE, f"run.dir={tmp_path}"]))


def test_the_newest_whole_checkpoint_before_the_step_is_taken(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    for step in (3, 5, 8):
        write_folder(
            folder / f"step_{step:08d}",
            lambda aside: (aside / "x").write_text("whole"),
            {"graph": "", "progress": {"step": step}},
        )
    (folder / "step_00000005" / "x").write_text("other")
    assert [newest_before(tmp_path, step) for step in (9, 8, 4, 3)] == [[8], [3], [3], []]
    assert "step_00000005 is damaged (x has changed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return open_graph(Synthetic(num_nodes=200, avg_degree=5, missing=0.0, cache=cache))


def test_another_graph_is_refused(store, tmp_path):
    shutil.copy(store.folder / "graph.json", tmp_path)
    check_graph(tmp_path, store.fingerprint)
    with pytest.raises(ConfigError, match="was trained on another graph"):
        check_graph(tmp_path, "f" * 64)


class Log(nn.Module):
    """Makes NaN of what is below 0, deep in its output."""

    def forward(self, x):
        return {"deep": [x, (x.log(), "a word")]}


def test_the_first_module_whose_output_is_not_finite_is_named():
    model = nn.Sequential(nn.Identity(), Log())
    with first_broken(model) as broken:
        model(torch.tensor([1.0]))
    assert broken == []
    with first_broken(model) as broken:
        model(torch.tensor([-1.0]))
    assert broken == ["1 (Log)"]
    model(torch.tensor([-1.0]))
    assert len(broken) == 1  # nobody looks any more


def test_the_seed_whose_loss_is_not_finite_is_found(store):
    (task,) = bind_tasks({"value": NodeRegression(label="value")}, store).values()
    outputs, seeds = torch.zeros(4, 1), task.seeds("train")[:4]
    outputs[2] = 1e30
    assert broken_rows(task, outputs, task.targets(seeds)).tolist() == [2]


def test_inner_products_are_those_of_whole_gradients_and_a_missing_one_is_zero():
    first = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    second = {"a": torch.tensor([-2.0, 1.5])}
    rows = torch.tensor([[1.0, 2.0, 3.0], [-2.0, 1.5, 0.0]]).double()
    found = gramian({"one": first, "two": second}, ["a", "b", "nobody's"])
    assert torch.equal(found, rows @ rows.T)
    ((i, j, cosine),) = cosines(found)
    assert (i, j) == (0, 1)
    assert cosine == pytest.approx(float(torch.cosine_similarity(rows[0], rows[1], dim=0)))


def test_tasks_without_a_finite_gradient_have_no_cosine():
    assert not list(cosines(torch.tensor([[0.0, 0.0], [0.0, 1.0]])))
    assert not list(cosines(torch.full((2, 2), np.nan)))


def test_the_record_of_a_step_is_that_of_its_training(tmp_path):
    lines = [
        {"step": 2, "time": 0.0, "train/a/loss": 1.0},
        {"step": 3, "time": 0.0, "train/a/loss": 2.0, "time/data": 1.0},
        {"step": 3, "time": 0.0, "val/a/loss": 3.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 3, "tim')
    assert recorded_of(tmp_path, 3) == {"train/a/loss": 2.0}
    assert recorded_of(tmp_path / "elsewhere", 3) == {}


def card_of(loss, recorded, norm, gradients=()):
    """Return what the lines about numbers read of a card."""
    task = {"loss": loss, "recorded": recorded, "broken_gradients": list(gradients)}
    one = {"number": 6, "losses": {"a": loss}, "broken_module": None}
    one["broken_seeds"] = {"a": {"count": 1, "id": ["c7"]}}
    card = {"tasks": {"a": task}, "microbatches": [one], "broken_weights": [], "fault": ""}
    return card | {"precision": "fp32", "gradient_norm": norm, "gradient_norm_recorded": norm}


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (2.0, "those of the run, to the last bit"),
        (2.0 + 2**-20, "those of the run but for 5e-07 of them at most"),
    ],
)
def test_how_far_a_step_is_from_the_record_is_said(recorded, words):
    assert words in compared(card_of(2.0, recorded, 1.0))


def test_where_nothing_was_recorded_nothing_is_compared():
    assert compared(card_of("inf", None, None)) == "the run recorded nothing of this step"


def test_what_is_not_finite_is_said_from_its_cause_on():
    assert list(not_finite(card_of(2.0, None, 1.0))) == []
    assert list(not_finite(card_of("inf", None, "nan", ["w"]))) == [
        "microbatch 6: first output that is not finite: none of a module: the outputs are finite",
        "  loss of a is inf, that of id c7",
        "gradient of a is not finite at w",
    ]
    (line,) = not_finite(card_of(2.0, None, "inf"))
    assert line == "every number of the gradients is finite; their length overflows fp32"


def test_a_line_names_few():
    assert few([1, 2]) == "1, 2"
    assert few(range(9)) == "0, 1, 2, 3, 4 and 4 more"
