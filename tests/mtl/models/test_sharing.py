"""What every sharing promises: one prediction a task, whatever the order of the tasks."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from mtl.graphs.store import GraphStore
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing import Sharing
from mtl.tasks.bound import BoundTask

Tasks = dict[str, BoundTask]
EXACT = {"atol": 1e-12, "rtol": 0}
EVERY = pytest.mark.parametrize("sharing", Sharing.types())
OUTPUTS = {"segment": 3, "churn": 2, "value": 1, "interests": 6}


@pytest.fixture
def batch(customers: GraphStore, tasks: Tasks) -> Data:
    loader = Loader(num_neighbors=(4, 3), batch_size=32)
    return build_stream(loader, customers, tasks).loader([0])


def model_of(
    store: GraphStore, tasks: Tasks, sharing: str, encoder: str = "sage", dropout: float = 0.0
) -> MultiTaskModel:
    torch.manual_seed(0)
    options = Model(
        dim=16,
        encoder=Encoder.read({"type": encoder, "dropout": dropout}),
        sharing=Sharing.read({"type": sharing}),
    )
    return build_model(options, store, tasks).double()


@EVERY
def test_every_task_gets_one_prediction_of_its_width_for_each_of_its_rows(
    sharing, customers, tasks, batch
):
    predictions = model_of(customers, tasks, sharing)(batch)
    shapes = {name: tuple(prediction.shape) for name, prediction in predictions.items()}
    assert shapes == {name: (len(batch.rows[name]), OUTPUTS[name]) for name in tasks}


@EVERY
def test_the_gradient_of_all_tasks_reaches_every_parameter(sharing, customers, tasks, batch):
    model = model_of(customers, tasks, sharing)
    total(model(batch)).backward()
    trained = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    unreached = [n for n, p in trained if p.grad is None or not p.grad.any()]
    assert not unreached


@EVERY
@pytest.mark.parametrize("encoder", ["sage", "gat"])
def test_an_empty_batch_gives_gradients_of_exactly_zero(sharing, encoder, customers, tasks):
    empty = build_stream(Loader(), customers, tasks).loader([None])
    model = model_of(customers, tasks, sharing, encoder)
    total(model(empty)).backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


@EVERY
def test_permuting_the_tasks_permutes_the_predictions(sharing, customers, tasks, batch):
    model = model_of(customers, tasks, sharing)
    backwards = model_of(customers, dict(reversed(tasks.items())), sharing)
    backwards.load_state_dict(model.state_dict())
    expected, found = model(batch), backwards(batch)
    assert list(found) == list(expected)[::-1]
    for name in tasks:
        torch.testing.assert_close(found[name], expected[name], **EXACT)


@EVERY
def test_mlp_predicts_the_same_whatever_the_edges(sharing, customers, tasks, batch):
    model = model_of(customers, tasks, sharing, encoder="mlp")
    alone = build_stream(Loader(batch_size=32), customers, tasks, num_hops=0).loader([0])
    assert (batch.num_edges > 0, alone.num_edges) == (True, 0)
    for one, other in zip(model(batch).values(), model(alone).values(), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@EVERY
def test_the_seed_of_the_microbatch_fixes_the_dropout(sharing, customers, tasks, batch):
    model, runs = model_of(customers, tasks, sharing, dropout=0.5), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(total(model(batch)).item())
    assert runs[0] == runs[1] != runs[2]


def test_hard_gives_every_task_the_same_embedding(customers, tasks, batch):
    seeds = model_of(customers, tasks, "hard").bottom(batch)
    assert len({id(by_type["node"]) for by_type in seeds.values()}) == 1


def test_mimo_gives_every_task_an_input_of_its_own(customers, tasks, batch):
    model = model_of(customers, tasks, "mimo")
    before = model(batch)
    with torch.no_grad():
        model.bottom.projection.linears.of(("node", "value")).weight.mul_(2)
    changed = [n for n, out in model(batch).items() if not torch.equal(out, before[n])]
    assert changed == ["value"]


@pytest.mark.parametrize("encoder", ["sage", "gcn", "gat", "mlp"])
def test_mimo_with_one_task_is_hard(encoder, customers, tasks, batch):
    one = {"value": tasks["value"]}
    hard, mimo = (model_of(customers, one, sharing, encoder) for sharing in ("hard", "mimo"))
    weights = hard.state_dict().items()
    shared, view = f"linears.{key('node')}.", f"linears.{key(('node', 'value'))}."
    mimo.load_state_dict({k.replace(shared, view): w for k, w in weights})
    torch.testing.assert_close(mimo(batch)["value"], hard(batch)["value"], **EXACT)


def total(predictions: dict[str, Tensor]) -> Tensor:
    return torch.stack([p.sum() for p in predictions.values()]).sum()
