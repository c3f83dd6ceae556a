"""Every configuration that we ship trains, and so does every encoder with every sharing."""

import json
import math
from itertools import cycle
from pathlib import Path

import pytest

from job.yaml12 import parse
from mtl.models.encoders import Encoder
from mtl.models.sharing import Sharing

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "job" / "configs").glob("*.yaml"), key=lambda path: path.name)
SHRUNK = {
    "synthetic": ["graph.num_nodes=300"],
    "marketplace": ["graph.num_users=300", "graph.num_items=100", "graph.num_shops=20"],
    "planetoid": [],
    "amazon": ["evaluate.num_neighbors=[5,5]"],
    "tables": [],
    "npz": ["model.dim=16", "loader.batch_size=512", "loader.global_batch_size=512"],
}
LARGE = {  # a real graph as it is, a small model
    "oewn": [
        *("loader.batch_size=4096", "loader.global_batch_size=4096", "evaluate.batch_size=4096"),
        *("loader.num_neighbors=[2,1]", "evaluate.num_neighbors=[1,1]", "model.dim=16"),
        "loader.rates={synset: 0.1, lemma: 0.1, synset__hypernym__synset: 0.1, "
        "synset__related__synset: 0.1}",
    ],
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_configuration_trains(path, request, start, tmp_path):
    assert_trains(start, path, tmp_path, *shrunk(path, request))
    assert (tmp_path / "run" / "report.html").is_file()


def test_mimo_on_cora_trains_on_two_processes(request, start, tmp_path):
    path = ROOT / "job" / "configs" / "cora_mimo.yaml"
    assert_trains(start, path, tmp_path, *shrunk(path, request), nproc=2)


@pytest.mark.parametrize(
    ("encoder", "sharing"), list(zip(cycle(Encoder.types()), Sharing.types(), strict=False))
)
def test_every_encoder_and_every_sharing_trains(encoder, sharing, start, tmp_path):
    assert_pair_trains(encoder, sharing, start, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("sharing", Sharing.types())
@pytest.mark.parametrize("encoder", Encoder.types())
def test_every_encoder_trains_with_every_sharing(encoder, sharing, start, tmp_path):
    assert_pair_trains(encoder, sharing, start, tmp_path)


def assert_pair_trains(encoder, sharing, start, tmp_path):
    path = ROOT / "job" / "configs" / "smoke.yaml"
    parts = [f"model.encoder.type={encoder}", f"model.sharing.type={sharing}"]
    assert_trains(start, path, tmp_path, "graph.num_nodes=300", "track.report=false", *parts)


def shrunk(path, request):
    """Return overrides that make a shipped configuration small, and find its raw files."""
    graph = parse(path.read_text(), str(path))["graph"]
    small = [*SHRUNK[graph["type"]], *LARGE.get(path.stem, [])]
    place = next((key for key in ("root", "file") if key in graph), None)
    if place is None:
        return small
    below = Path(graph[place]).relative_to("data")
    return [*small, f"graph.{place}={request.getfixturevalue('shared_data') / below}"]


def assert_trains(start, path, folder, *overrides, nproc=1):
    """One epoch ends with 0, and with finite metrics of every task on both splits."""
    small = ["train.epochs=1", "track.mlflow=null", "run.dir=run"]
    ending = start(folder, str(path), *small, *overrides, nproc=nproc).end()
    assert ending.code == 0, ending.stderr
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert all(map(math.isfinite, summary["metrics"].values())), summary["metrics"]
    for task in parse(path.read_text(), str(path))["tasks"]:
        assert {f"val/{task}/loss", f"test/{task}/loss"} <= summary["metrics"].keys()
