"""A step never waits for the device: it asks for no number, and no shape depends on one.

Tensors of the device `meta` have no numbers: an operation that needs one to go on fails there.
"""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from job.clock import Clock, CpuTimer
from job.meter import Meter
from job.step import Stepper
from mtl.balancing import Balancing
from mtl.collective import Alone
from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.graphs.synthetic import Synthetic
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.encoders.sage import Sage
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks
from mtl.tasks.losses import apart

ROOT = Path(__file__).parents[2]
TASKS = {
    "segment": {"type": "node_classification", "label": "segment", "class_weights": "balanced"},
    "value": {"type": "node_regression", "label": "value", "loss": "huber"},
    "interests": {"type": "node_multilabel", "label": "interests"},
    "links": {"type": "link_prediction"},
    "hidden": {"type": "feature_reconstruction"},
}
MARKET_TASKS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "category": {"type": "node_classification", "node_type": "item", "label": "category"},
    "returned": {
        "type": "edge_classification",
        "edge_type": "user__buys__item",
        "label": "returned",
    },
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    cache = tmp_path_factory.mktemp("graphs")
    one = Synthetic(num_nodes=200, num_features=8, cache=cache / "one")
    many = Marketplace(num_users=80, num_items=40, num_shops=10, cache=cache / "many")
    return [(open_graph(one), TASKS), (open_graph(many), MARKET_TASKS)]


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """It knows no device `meta`."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: nullcontext())


def descend(store, described, encoder: str, sharing: str) -> None:
    """Make forward, losses and backward of a batch without a number."""
    tasks = bind_tasks({name: Task.read(tree) for name, tree in described.items()}, store)
    stream = build_stream(Loader(num_neighbors=(3, 2), batch_size=20), store, tasks, num_hops=None)
    options = Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.3})
    shared = Sharing.read({"type": sharing})
    model = build_model(Model(encoder=options, sharing=shared, dim=8), store, tasks).to("meta")
    batch = stream.loader([0]).to("meta")
    torch.stack(apart(model(batch), batch, tasks)).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("encoder", Encoder.types())
def test_no_encoder_and_no_loss_needs_a_number_of_the_device(graphs, encoder):
    for store, tasks in graphs[: 1 if encoder == "gcn" else 2]:
        descend(store, tasks, encoder, "hard")


@pytest.mark.parametrize("sharing", Sharing.types())
def test_no_way_of_sharing_needs_a_number_of_the_device(graphs, sharing):
    for store, tasks in graphs:
        descend(store, tasks, "sage", sharing)


class OnMeta(Alone):
    """One process on a device without numbers."""

    device, loss_scale, precision, stop_requested = torch.device("meta"), 1.0, "fp32", False

    def __init__(self):
        self.clock = Clock(CpuTimer())

    def unwrap(self, model):
        return model

    def accumulate(self, model, *, last):
        return nullcontext()

    def backward(self, loss):
        loss.backward()


@pytest.mark.parametrize("balancing", ["equal", "upgrad"])
def test_a_step_reads_nothing_but_what_the_balancing_weighs(graphs, balancing):
    (store, described), runtime = graphs[0], OnMeta()
    tasks = bind_tasks({name: Task.read(tree) for name, tree in described.items()}, store)
    loader = Loader(num_neighbors=(3, 2), batch_size=20, global_batch_size=40)
    stream = build_stream(loader, store, tasks)
    options = Model(encoder=Sage(num_layers=2), sharing=Sharing.read({"type": "hard"}), dim=8)
    model = build_model(options, store, tasks).to("meta")
    weighs = Balancing.read({"type": balancing, "conflicts_every": None})
    stepper, meter = Stepper(model, tasks, weighs, runtime, stream, 0), Meter(runtime, list(tasks))
    ((_, batches),) = stream.steps(0, 1)
    stops = balancing == "upgrad"  # where losses and Gramian are read, and all of them are there
    with pytest.raises(NotImplementedError, match="meta") if stops else nullcontext():
        for batch, losses in stepper.backward(batches, 0):
            meter.add(losses, batch)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        torch.optim.SGD(model.parameters()).step()
        assert norm.is_meta


def asked(start, folder: Path, *overrides: str) -> list[str]:
    config = str(ROOT / "job" / "configs" / "smoke.yaml")
    small = [
        "graph.num_nodes=300",
        "train.epochs=1",
        "model.encoder.dropout=0",
        "track.mlflow=null",
    ]
    small += ["track.every_steps=1000", "track.report=false", f"run.dir={folder / 'run'}"]
    # of torch's optimizers only those of a GPU keep their step there; SGD has none
    small += ["optim.algorithm=sgd", *overrides]
    out = folder / "asked.json"
    job = start(folder, str(out), config, *small, script="tests/job/waits.py")
    assert job.end().code == 0
    return json.loads(out.read_text())


def test_no_line_of_a_step_asks_for_a_number(start, tmp_path):
    assert asked(start, tmp_path, "balancing={type: equal, conflicts_every: null}") == []


def test_weights_of_the_gramian_ask_once_a_step(start, tmp_path):
    calls = asked(start, tmp_path, "balancing.type=upgrad")
    waits = [call for call in calls if call.startswith("cpu <") and " weights <" not in call]
    assert len(waits) == json.loads((tmp_path / "run" / "summary.json").read_text())["step"] > 1
