"""Layers that torch.compile has fused: the same numbers, and no new code for another batch."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import product

import pytest
import torch
from torch._dynamo.utils import counters

from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks

LINKS = {"type": "link_prediction", "num_negatives": 2}
CUSTOMERS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "likes": {**LINKS, "edge_type": "node__to__node"},
}
SHOPS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "buys": {**LINKS, "edge_type": "user__buys__item"},
    "who": {"type": "feature_reconstruction", "node_type": "user"},
}
GRAPHS = {"customers": CUSTOMERS, "shops": SHOPS}
ONE_TYPE = {"gcn", "gat", "gin", "pna"}
SOME = [("sage", "hard", "customers"), ("sage", "hard", "shops")]
ALL = [
    pytest.param(*case, marks=pytest.mark.soak)
    for case in product(Encoder.types(), Sharing.types(), GRAPHS)
    if case[2] == "customers" or case[0] not in ONE_TYPE
    if case not in SOME
]


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace, forward and backward, and leave out the C++ at the end: seconds instead of minutes."""
    whole = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda run, dynamic, options: whole(run, dynamic=dynamic, backend="aot_eager"),
    )
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("encoder", "sharing", "graph"), [*SOME, *ALL])
def test_gradients_are_the_same_and_no_batch_needs_code_of_its_own(
    request, encoder, sharing, graph
):
    store: GraphStore = request.getfixturevalue(graph)
    tasks = bind_tasks({name: Task.read(tree) for name, tree in GRAPHS[graph].items()}, store)
    options = Model(
        encoder=Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0}),
        sharing=Sharing.read({"type": sharing}),
        dim=8,
    )
    plain = build_model(options, store, tasks).double()
    compiled = deepcopy(plain)
    compiled.bottom.compile_training()
    stream = build_stream(Loader(num_neighbors=(5, 3), batch_size=30), store, tasks)
    graphs = []
    for batch in stream.microbatches([0, 1, 2, 3, None]):
        for part in batch.stores:
            if "x" in part:
                part["x"] = part["x"].double()
        for one, other in zip(gradients(plain, batch), gradients(compiled, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0
    assert not counters["graph_break"]
    assert graphs[1:] == graphs[1:2] * 4
    compiled.eval()
    compiled(batch)
    assert counters["stats"]["unique_graphs"] == graphs[-1]  # evaluation is what it was


def gradients(model: MultiTaskModel, batch) -> list[torch.Tensor | None]:
    model.zero_grad()
    torch.stack([(out * out).sum() for out in model(batch).values()]).sum().backward()
    return [p.grad for p in model.parameters()]
