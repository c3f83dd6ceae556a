"""A model that exists gets a new task: its trunk stays as it is, only the new head is trained."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

SMOKE = str(Path(__file__).parents[2] / "job" / "configs" / "smoke.yaml")
SMALL = ["train.epochs=1", "track.mlflow=null", "graph.num_nodes=300"]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    (folder,) = (run / "checkpoints").glob("step_*")
    return load_file(folder / "model.safetensors")


def test_a_task_is_added_to_a_trained_model(start, tmp_path):
    first = start(tmp_path, SMOKE, *SMALL, "tasks.value=null", "run.dir=old").end()
    assert first.code == 0, first.stderr
    given = ["model.init_from=old", "model.freeze=[projection,trunk]", "run.dir=new"]
    second = start(tmp_path, SMOKE, *SMALL, *given).end()
    assert second.code == 0, second.stderr
    old, new = weights_of(tmp_path / "old"), weights_of(tmp_path / "new")
    below = [name for name in old if name.startswith("bottom.")]
    assert below
    assert all(torch.equal(old[name], new[name]) for name in below)
    assert any(name.startswith("heads.value.") for name in new.keys() - old.keys())
    assert not torch.equal(old["heads.segment.linear.weight"], new["heads.segment.linear.weight"])
    shutil.rmtree(tmp_path / "old")  # whoever goes on does not need it any more
    longer = [option.replace("epochs=1", "epochs=2") for option in SMALL]
    third = start(tmp_path, SMOKE, *longer, *given).end()
    assert third.code == 0, third.stderr


def test_a_run_or_a_part_that_does_not_fit_is_refused(start, tmp_path):
    first = start(tmp_path, SMOKE, *SMALL, "run.dir=old").end()
    assert first.code == 0, first.stderr
    wrong = {
        "model.init_from=nowhere": "no whole checkpoint is there",
        "model.init_from=old model.dim=8": "model.init_from: old holds another model",
        "model.freeze=[trunc]": "the model has no part 'trunc'; did you mean 'trunk'?",
    }
    for options, message in wrong.items():
        ended = start(tmp_path, SMOKE, *SMALL, *options.split(" "), "run.dir=other").end()
        assert (ended.code, message in ended.stderr) == (64, True), ended.stderr
