"""Feature reconstruction: what is masked is seen by nobody, and nobody else's metrics see masks."""

from collections.abc import Mapping

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import Tensor

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._metrics import Cosine, VarianceExplained
from mtl.tasks.bound import BoundTask, bind_tasks
from mtl.tasks.losses import task_losses

HIDDEN = {"type": "feature_reconstruction"}
WORDS = {"segment": {"type": "node_classification", "label": "segment"}, "words": HIDDEN}
USERS = {"churn": {"type": "node_classification", "node_type": "user", "label": "churn"}}
USERS |= {"who": {**HIDDEN, "node_type": "user"}, "what": {**HIDDEN, "node_type": "item"}}


def bound(options: Mapping[str, Mapping], store: GraphStore) -> dict[str, BoundTask]:
    return bind_tasks({name: Task.read(own) for name, own in options.items()}, store)


def stream_of(store: GraphStore, tasks: Mapping[str, BoundTask], **options):
    loader = Loader(num_neighbors=(4, 3), batch_size=24)
    return build_stream(loader, store, tasks, seed=3, **options)


def model_of(store: GraphStore, tasks: Mapping[str, BoundTask], encoder: str, sharing: str):
    torch.manual_seed(0)
    options = Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": sharing}), dim=8)
    return build_model(model, store, tasks).double()


def changed(folder, *, masked: np.ndarray) -> GraphStore:
    """Make a ring of sixty nodes; the features of some of them are others."""
    rng, writer = np.random.default_rng(0), GraphWriter(folder, name="ring")
    x = rng.normal(size=(60, 5)).astype(np.float32)
    x[masked] += 100
    writer.add_nodes("node", 60, x)
    writer.add_label("node", "segment", "class", rng.integers(3, size=60), num_classes=3)
    writer.add_split("node", "split", np.tile([1, 1, 1, 2, 3], 12))
    nodes = np.arange(60)
    pairs = np.hstack([[nodes, (nodes + step) % 60] for step in (1, 2, 59, 58)])
    writer.add_edges(("node", "to", "node"), *pairs)
    writer.finish()
    return GraphStore(folder)


@pytest.mark.parametrize("sharing", Sharing.types())
@pytest.mark.parametrize("encoder", Encoder.types())
def test_no_prediction_sees_a_masked_feature(tmp_path, encoder, sharing):
    options = {**WORDS, "words": {**HIDDEN, "split": "split"}}
    store = changed(tmp_path / "one", masked=np.empty(0, np.int64))
    tasks = bound(options, store)
    model = model_of(store, tasks, encoder, sharing)
    batch = stream_of(store, tasks).loader([0])
    other = changed(tmp_path / "other", masked=batch.n_id[batch.masked].numpy())
    same = stream_of(other, bound(options, other)).loader([0])
    assert not torch.equal(batch.target["words"], same.target["words"])
    for name, prediction in model(batch).items():
        assert torch.equal(prediction, model(same)[name])


@pytest.mark.parametrize("sharing", Sharing.types())
def test_masks_of_each_type_stand_alone(mixed_shop, sharing):
    tasks = bound(USERS, mixed_shop)
    model = model_of(mixed_shop, tasks, "sage", sharing)
    batch = stream_of(mixed_shop, tasks).loader([0])
    for kind, name in (("user", "who"), ("item", "what")):
        seeds = batch[kind].n_id[batch[kind].masked]
        assert set(seeds.tolist()) == set(stream_of(mixed_shop, tasks).loader.reads(0)[name])
        assert not batch[kind].x[batch[kind].masked].any()
        assert batch[kind].x.any()
    losses = task_losses(model(batch), batch, tasks)
    losses.sum().backward()
    tokens = {n: p.grad for n, p in model.named_parameters() if ".tokens." in n}
    assert tokens
    assert all(grad is not None for grad in tokens.values())
    assert any(grad.any() for grad in tokens.values())


def test_an_epoch_masks_every_training_node_once_and_no_other(customers):
    tasks = bound(WORDS, customers)
    stream = stream_of(customers, tasks)
    steps = stream.steps(0, stream.order.steps_per_epoch)
    masked = [batch.n_id[batch.masked] for _, part in steps for batch in part]
    found = torch.cat(masked).sort().values
    assert found.tolist() == tasks["words"].seeds("train").tolist()
    assert set(stream.order.groups) == {"node", "masked__node"}


def test_other_tasks_are_evaluated_without_masks(customers):
    alone = bound({"segment": WORDS["segment"]}, customers)
    wanted = list(stream_of(customers, alone, split="val").microbatches(range(2)))
    stream = stream_of(customers, bound(WORDS, customers), split="val", only={"segment"})
    for batch, expected in zip(stream.microbatches(range(2)), wanted, strict=True):
        assert "masked" not in batch
        assert torch.equal(batch.x, expected.x)
        assert torch.equal(batch.edge_index, expected.edge_index)


def test_what_a_task_holds_out_stays_hidden_while_another_is_evaluated(customers):
    links = {"type": "link_prediction", "val_share": 0.3, "test_share": 0.3}
    tasks = bound({**WORDS, "links": links}, customers)
    stream = stream_of(customers, tasks, split="val", only={"words"})
    shown = np.concatenate([batch.e_id.numpy() for batch in stream.microbatches(range(2))])
    assert (tasks["links"].split[shown] == 1).all()


@pytest.mark.parametrize("loss", ["sce", "mse"])
def test_the_loss_is_the_papers(customers, loss):
    (task,) = bound({"words": {**HIDDEN, "loss": loss, "gamma": 3.0}}, customers).values()
    seeds = task.seeds("val")
    x = customers.features("node")[torch.from_numpy(seeds)].double().numpy()
    z = x + np.random.default_rng(0).normal(size=x.shape)
    cosine = (x * z).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(z, axis=1)
    train = customers.features("node")[torch.from_numpy(task.seeds("train"))].double().numpy()
    errors = {"sce": (1 - cosine) ** 3, "mse": (((x - z) / train.std(0)) ** 2).mean(1)}
    found = task.loss_sum(torch.from_numpy(z), task.targets(seeds))
    assert found.item() == pytest.approx(errors[loss].sum(), rel=1e-6)
    assert task.count(seeds) == len(seeds)


def test_nothing_selected_is_exactly_zero(customers):
    for loss in ("sce", "mse"):
        (task,) = bound({"words": {**HIDDEN, "loss": loss}}, customers).values()
        none = np.empty(0, np.int64)
        prediction = torch.zeros(0, task.num_outputs, requires_grad=True)
        total = task.loss_sum(prediction, task.targets(none))
        total.backward()
        assert total.item() == 0


def test_nodes_without_a_single_feature_have_a_finite_gradient(customers):
    (task,) = bound({"words": HIDDEN}, customers).values()
    prediction = torch.zeros(2, task.num_outputs).double().requires_grad_()
    target = torch.stack([torch.zeros(task.num_outputs), torch.ones(task.num_outputs)])
    task.loss_sum(prediction, target).backward()
    assert prediction.grad.isfinite().all()


def test_metrics_are_those_of_scikit_learn_over_all_parts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)) * [1, 5, 0, 2]
    z = x + rng.normal(size=x.shape)
    r2, cosine = VarianceExplained(), Cosine()
    for part in (slice(0, 7), slice(7, 7), slice(7, 50)):
        for metric in (r2, cosine):
            metric.update(torch.from_numpy(z[part]), torch.from_numpy(x[part]))
    share = 1 - ((x - z) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert r2.compute().item() == pytest.approx(share, rel=1e-12)
    known = x[:, [0, 1, 3]], z[:, [0, 1, 3]]  # scikit-learn leaves a constant column out
    some = VarianceExplained()
    some.update(*(Tensor(torch.from_numpy(v)) for v in reversed(known)))
    wanted = sklearn.metrics.r2_score(*known, multioutput="variance_weighted")
    assert some.compute().item() == pytest.approx(wanted, rel=1e-12)
    pairs = sklearn.metrics.pairwise.paired_cosine_distances(x, z)
    assert cosine.compute().item() == pytest.approx(1 - pairs.mean(), rel=1e-12)


WRONG = {
    "no features": (
        {"node_type": "shop"},
        r"^tasks\.a\.node_type: shop has no features to reconstruct \(with features: user\)",
    ),
    "shares": ({"node_type": "user", "val_share": 0.5, "test_share": 0.5}, r"^tasks\.a\.val_share"),
    "none": (
        {"node_type": "user", "val_share": 1e-9},
        r"^tasks\.a: none of the 40 nodes of user is in the val split \(raise val_share",
    ),
    "split": ({"node_type": "user", "split": "x"}, r"^tasks\.a\.split: expected one of none"),
    "type": ({"node_type": "usr"}, r"^tasks\.a\.node_type: expected one of .*did you mean 'user'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_the_graph_is_refused(tmp_path, wrong):
    writer = GraphWriter(tmp_path / "graph", name="g")
    writer.add_nodes("user", 40, np.ones((40, 2), np.float32))
    writer.add_nodes("shop", 3)
    writer.add_edges(("user", "to", "shop"), [0], [1])
    writer.finish()
    options, message = WRONG[wrong]
    with pytest.raises(ConfigError, match=message):
        bound({"a": {**HIDDEN, **options}}, GraphStore(tmp_path / "graph"))
