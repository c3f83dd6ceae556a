"""A device computes what the CPU does, and waits nowhere: shown where there is a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

import pytest
import torch

from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks
from mtl.tasks.losses import apart

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]
TASKS = {
    "segment": {"type": "node_classification", "label": "segment", "class_weights": "balanced"},
    "value": {"type": "node_regression", "label": "value"},
    "links": {"type": "link_prediction"},
}


@contextmanager
def never_waiting(device: str) -> Iterator[None]:
    """Refuse what waits for the device; of the CPU nothing is known."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("encoder", Encoder.types())
def test_outputs_and_gradients_are_those_of_the_cpu(encoder, device, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp() / "devices"
    store = open_graph(Synthetic(num_nodes=500, num_features=16, cache=cache))
    tasks = bind_tasks({name: Task.read(tree) for name, tree in TASKS.items()}, store)
    stream = build_stream(Loader(num_neighbors=(4, 3), batch_size=50), store, tasks)
    options = Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": "hard"}), dim=16)
    batch, found = stream.loader([0]), {}
    for place in ("cpu", device):
        torch.manual_seed(0)
        made, moved = build_model(model, store, tasks).to(place), copy(batch).to(place)
        torch.stack(apart(made(moved), moved, tasks)).sum().backward()  # all is there from now on
        made.zero_grad()
        with never_waiting(place):
            outputs = made(moved)
            torch.stack(apart(outputs, moved, tasks)).sum().backward()
        gradient = [p.grad.flatten() for p in made.parameters() if p.requires_grad]
        found[place] = [out.detach().flatten().cpu() for out in outputs.values()]
        found[place].append(torch.cat(gradient).cpu())
    for here, there in zip(found[device], found["cpu"], strict=True):
        assert (here - there).abs().max() <= 1e-4 * there.abs().max()
