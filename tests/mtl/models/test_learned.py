"""Nodes without features: a learned vector each, or a refusal that says how large."""

import re

import numpy as np
import pytest
import torch

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model, multitask
from mtl.models.encoders import Encoder
from mtl.models.modules import key
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Users with features, items without."""
    folder = tmp_path_factory.mktemp("bare") / "graph"
    rng, writer = np.random.default_rng(0), GraphWriter(folder, name="bare")
    writer.add_nodes("user", 20, rng.random((20, 3), np.float32))
    writer.add_nodes("item", 15)
    writer.add_label("user", "y", "class", rng.integers(2, size=20), num_classes=2)
    writer.add_split("user", "s", np.tile([1, 1, 2, 3], 5))
    writer.add_label("item", "y", "class", rng.integers(2, size=15), num_classes=2)
    writer.add_split("item", "s", np.tile([1, 2, 3], 5))
    writer.add_edges(("item", "of", "user"), rng.integers(15, size=60), rng.integers(20, size=60))
    writer.finish()
    return GraphStore(folder)


def bound_tasks(store, num_tasks=1):
    """Tasks of users, and after two of them one of items, which hear no others."""
    names = {f"y{i}" if i else "y": "item" if i == 2 else "user" for i in range(num_tasks)}
    return {
        name: Task.read({"type": "node_classification", "node_type": node_type, "label": "y"}).bind(
            name, store
        )
        for name, node_type in names.items()
    }


def built(store, sharing="hard", num_tasks=1, encoder="sage", **options):
    bound = bound_tasks(store, num_tasks)
    model = Model(
        encoder=Encoder.read({"type": encoder, "num_layers": 1}),
        sharing=Sharing.read({"type": sharing}),
        dim=8,
        **options,
    )
    torch.manual_seed(0)
    stream = build_stream(Loader(num_neighbors=(-1,), batch_size=4), store, bound)
    return build_model(model, store, bound).double(), stream


@pytest.mark.parametrize("sharing", ["hard", "mimo"])
def test_the_gradient_reaches_the_vectors_of_the_sampled_nodes_alone(store, sharing):
    model, stream = built(store, sharing)
    batch = stream.loader([0])
    model(batch)["y"].square().sum().backward()
    grad = model.bottom.projection.learned[key("item")].weight.grad
    assert grad.shape == (15, 8)
    assert np.flatnonzero(grad.any(1)).tolist() == sorted(set(batch["item"].n_id.tolist()))


def test_what_would_not_fit_is_refused_with_its_size(store):
    with pytest.raises(
        ConfigError, match=r"item have no features, .* 15 nodes takes 0\.0 GiB on ev"
    ):
        built(store, max_embedding_gib=1e-7)


def num_vectors(model):
    """Learned vectors that a model really has."""
    return sum(len(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("sharing", Sharing.types())
def test_the_limit_counts_every_learned_vector_that_the_model_has(sharing, num_tasks, store):
    model, _ = built(store, sharing, num_tasks)
    gib = num_vectors(model) * 8 * 4 * 4 / 2**30
    built(store, sharing, num_tasks, max_embedding_gib=gib)
    with pytest.raises(ConfigError, match="item have no features"):
        built(store, sharing, num_tasks, max_embedding_gib=gib * 0.999)


@pytest.mark.parametrize(
    ("sharing", "found"),
    [
        ("hard", "15 nodes takes"),
        ("mimo", "15 nodes takes"),
        ("separate", "15 nodes, 45 vectors as model.sharing gives tasks their own, takes"),
        ("cross_stitch", "15 nodes, 45 vectors as model.sharing gives tasks their own, takes"),
    ],
)
def test_tasks_with_vectors_of_their_own_are_said(sharing, found, store):
    with pytest.raises(ConfigError, match=re.escape(found)):
        built(store, sharing, 3, max_embedding_gib=1e-7)


@pytest.mark.parametrize("encoder", sorted({*Encoder.types()} - {"gcn", "mlp"}))
def test_every_encoder_is_refused_before_it_takes_memory(encoder, store):
    with pytest.raises(ConfigError, match="15 nodes takes"):
        built(store, encoder=encoder, max_embedding_gib=1e-7)


def test_counting_them_draws_no_random_numbers(store, monkeypatch):
    first, _ = built(store, "separate", 2)
    monkeypatch.setattr(multitask, "check_learned", lambda *_: None)
    second, _ = built(store, "separate", 2)
    for name, value in second.state_dict().items():
        assert torch.equal(first.state_dict()[name], value), name


def test_a_graph_along_which_no_message_passes_leaves_the_nodes_themselves(store):
    task = Task.read({"type": "node_classification", "node_type": "user", "label": "y"})
    bound = {"y": task.bind("y", store)}
    model = Model(
        encoder=Encoder.read({"type": "sage", "num_layers": 1}),
        sharing=Sharing.read({"type": "hard"}),
        dim=8,
    )
    silent = Loader(num_neighbors={"default": (3,), "item__of__user": (0,)}, batch_size=4)
    batch = build_stream(silent, store, bound).loader([0])
    network = build_model(model, store, bound, []).double()
    network(batch)["y"].sum().backward()
    trained = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
    assert not [n for n, p in trained if p.grad is None or not p.grad.any()]
    assert not [n for n, _ in trained if "item" in n]
