"""Nodes, edges and links in one job: what goes on later is what went on at once, bit for bit."""

from pathlib import Path

import torch
from safetensors.torch import load_file

MARKET = str(Path(__file__).parents[2] / "job" / "configs" / "marketplace.yaml")
SMALL = [
    *("graph.num_users=300", "graph.num_items=100", "graph.num_shops=20", "track.mlflow=null"),
    *("optim.schedule=constant", "loader.batch_size=128", "loader.global_batch_size=256"),
    *("model.dim=16", "checkpoint.keep=1", "train.precision=fp32"),
]


def test_an_extended_run_is_the_longer_run(start, tmp_path):
    for options in (["train.epochs=2", "run.dir=at_once"], ["train.epochs=1", "run.dir=later"]):
        ending = start(tmp_path, MARKET, *SMALL, *options).end()
        assert ending.code == 0, ending.stderr
    config = tmp_path / "later" / "config.yaml"
    old = [line for line in config.read_text().splitlines() if "replace:" not in line]
    assert len(old) < len(config.read_text().splitlines())
    config.write_text("\n".join(old) + "\n")  # as a program wrote it that had no such option
    ending = start(tmp_path, MARKET, *SMALL, "train.epochs=2", "run.dir=later").end()
    assert ending.code == 0, ending.stderr
    at_once, later = (newest(tmp_path / name) for name in ("at_once", "later"))
    assert at_once.keys() == later.keys()
    assert all(torch.equal(at_once[name], later[name]) for name in at_once)


def newest(run: Path) -> dict[str, torch.Tensor]:
    folder = max((run / "checkpoints").glob("step_*"), key=lambda path: path.name)
    return load_file(folder / "model.safetensors")
