"""Tasks on whole graphs: every graph brings its own nodes and no others."""

import itertools

import numpy as np
import pytest
import torch

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
from mtl.tasks.losses import task_losses

TASKS = {
    "toxic": {"type": "graph_multilabel", "label": "toxic"},
    "mass": {"type": "graph_regression", "label": "mass", "pool": "sum"},
    "kind": {"type": "graph_classification", "label": "kind", "split": "other"},
    "charge": {"type": "node_classification", "label": "charge"},
}


@pytest.fixture(scope="module")
def molecules(tmp_path_factory) -> GraphStore:
    """Forty rings of one to six atoms; one has none."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("molecules") / "graph"
    sizes = rng.integers(1, 7, 40)
    sizes[7] = 0
    pointer, atoms = np.append(0, np.cumsum(sizes)), np.arange(sizes.sum())
    writer = GraphWriter(folder, name="molecules")
    writer.add_nodes("atom", len(atoms), rng.random((len(atoms), 3), np.float32))
    writer.add_label("atom", "charge", "class", rng.integers(2, size=len(atoms)), num_classes=2)
    writer.add_split("atom", "atoms", rng.integers(1, 4, len(atoms)))
    writer.add_collection("molecule", "atom", pointer)
    writer.add_label("molecule", "toxic", "multilabel", rng.integers(-1, 2, (40, 3)), num_classes=3)
    writer.add_label("molecule", "mass", "regression", sizes.astype(np.float32))
    writer.add_label("molecule", "kind", "class", rng.integers(3, size=40), num_classes=3)
    for name in ("scaffold", "other"):
        writer.add_split("molecule", name, rng.integers(1, 4, 40))
    graph = np.repeat(np.arange(40), sizes)
    following = pointer[graph] + (atoms - pointer[graph] + 1) % sizes[graph]
    writer.add_edges(("atom", "bond", "atom"), atoms, following)
    writer.finish()
    return GraphStore(folder)


@pytest.fixture(scope="module")
def tasks(molecules):
    return {name: Task.read(options).bind(name, molecules) for name, options in TASKS.items()}


def model_of(store, tasks, sharing="hard"):
    torch.manual_seed(0)
    options = Encoder.read({"type": "sage", "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": sharing}), dim=8)
    return build_model(model, store, tasks).double()


def batches(store, tasks, split="train", **options):
    loader = Loader(num_neighbors=(-1, -1), batch_size=9, **options)
    stream = build_stream(loader, store, tasks, split=split)
    numbers = range(stream.order.steps_per_epoch * stream.order.microbatches_per_step)
    return [(stream.loader.reads(number), stream.loader([number])) for number in numbers]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_each_graph_is_read_with_all_its_atoms_once(molecules, tasks, split):
    _, pointer = molecules.members("molecule")
    seen = {name: [] for name in ("toxic", "mass", "kind")}
    for reads, batch in batches(molecules, tasks, split):
        for name, its in seen.items():
            pointers = batch.extra[name]
            parts = zip(reads[name], pointers[:-1], pointers[1:], strict=True)
            for graph, first, last in parts:
                nodes = batch.n_id[batch.rows[name][first:last]]
                assert nodes.tolist() == list(range(pointer[graph], pointer[graph + 1]))
            its.extend(reads[name].tolist())
    for name, its in seen.items():
        assert sorted(its) == tasks[name].seeds(split).tolist()


def test_a_prediction_is_that_of_the_graph_alone(molecules, tasks):
    model = model_of(molecules, tasks)
    whole = {name: {} for name in ("toxic", "mass", "kind")}
    for reads, batch in batches(molecules, tasks):
        out = model(batch)
        for name, found in whole.items():
            found.update(zip(reads[name].tolist(), out[name], strict=True))
    for name, found in whole.items():
        one = {name: tasks[name]}
        alone = model_of_same(model, molecules, one)
        for reads, batch in batches(molecules, one):
            for graph, row in zip(reads[name].tolist(), alone(batch)[name], strict=True):
                torch.testing.assert_close(row, found[graph], atol=1e-12, rtol=0)


def model_of_same(model, store, tasks):
    alone = model_of(store, tasks)
    names = alone.state_dict().keys()
    alone.load_state_dict({name: w for name, w in model.state_dict().items() if name in names})
    return alone


def test_mean_and_sum_over_the_atoms(molecules, tasks):
    model = model_of(molecules, tasks)
    _, batch = batches(molecules, tasks)[0]
    seeds, out = model.bottom(batch), model(batch)
    for name in ("toxic", "mass"):
        head, rows, pointer = model.heads[name], batch.rows[name], batch.extra[name]
        x = seeds[name]["atom"][rows]
        parts = [x[a:b] for a, b in itertools.pairwise(pointer)]
        pooled = [p.mean(0) if name == "toxic" else p.sum(0) for p in parts]
        expected = head.prior + head.scale * head.linear(torch.stack(pooled).nan_to_num())
        torch.testing.assert_close(out[name], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sharing", ["hard", "mimo"])
def test_every_weight_gets_a_gradient_and_an_empty_batch_gives_none(molecules, tasks, sharing):
    model = model_of(molecules, tasks, sharing)
    empty = build_stream(Loader(), molecules, tasks).loader([None])
    task_losses(model(empty), empty, tasks).sum().backward()
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None and not p.grad.any() for _, p in trained)
    for _, batch in batches(molecules, tasks):
        task_losses(model(batch), batch, tasks).sum().backward()
    assert not [n for n, p in trained if not p.grad.any()]


def test_an_unknown_collection_is_refused(molecules):
    with pytest.raises(ConfigError, match=r"tasks\.t\.collection: expected one of molecule, found"):
        Task.read({"type": "graph_regression", "label": "mass", "collection": "x"}).bind(
            "t", molecules
        )
