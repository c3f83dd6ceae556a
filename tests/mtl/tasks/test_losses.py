"""Microbatches of a step add up to the step, whatever labels are missing where."""

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader, message_types
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._links import BoundLinks, Pairs
from mtl.tasks.losses import task_losses

STEP = 24
SIZES = pytest.mark.parametrize("batch_size", [1, 5, 7, 23])
EDGE_TASKS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "stars": {
        "type": "edge_classification",
        "edge_type": "user__buys__item",
        "label": "stars",
        "class_weights": "balanced",
        "label_smoothing": 0.1,
    },
    "amount": {"type": "edge_regression", "edge_type": "user__buys__item", "label": "amount"},
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item", "num_negatives": 3},
}
FRIEND_TASKS = {
    "price": {"type": "node_regression", "node_type": "item", "label": "price", "loss": "huber"},
    "friend": {"type": "link_prediction", "edge_type": "user__friend__user", "loss": "ranking"},
}
GRAPH_TASKS = {
    "toxic": {"type": "graph_multilabel", "label": "toxic"},
    "mass": {"type": "graph_regression", "label": "mass", "pool": "sum", "loss": "poisson"},
    "kind": {"type": "graph_classification", "label": "kind", "class_weights": "balanced"},
    "charge": {"type": "node_classification", "label": "charge"},
}
SILENT = [0, 0]


def model_of(customers, tasks, encoder, sharing, num_neighbors=(-1, -1)):
    torch.manual_seed(0)
    options = Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": sharing}), dim=8)
    types = message_types(num_neighbors, customers.edge_types)
    return build_model(model, customers, tasks, types).double()


def gradient(model, stream, tasks, step):
    """Return losses and gradient of one step over all of its microbatches."""
    model.zero_grad()
    ((_, batches),) = stream.steps(step, step + 1)
    losses = torch.zeros(len(tasks)).double()
    for batch in batches:
        parts = task_losses(model(batch), batch, tasks)
        parts.mean().backward()
        losses += parts.detach()
    trained = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return losses, torch.cat(trained)


def assert_parts_add_up(store, tasks, batch_size, encoder, sharing, num_neighbors=(-1, -1)):
    """Compare the first and the last step of an epoch in parts with the same in one."""
    model = model_of(store, tasks, encoder, sharing, num_neighbors)
    options = {"num_neighbors": num_neighbors, "global_batch_size": STEP}
    edge_features = Encoder.named(encoder).reads_edge_features
    whole, parts = (
        build_stream(Loader(batch_size=n, **options), store, tasks, edge_features=edge_features)
        for n in (STEP, batch_size)
    )
    for step in (0, whole.order.steps_per_epoch - 1):
        wanted_losses, wanted = gradient(model, whole, tasks, step)
        losses, found = gradient(model, parts, tasks, step)
        torch.testing.assert_close(losses, wanted_losses, atol=0, rtol=1e-10)
        assert (found - wanted).norm() <= 1e-10 * wanted.norm()


@SIZES
@pytest.mark.parametrize(("encoder", "sharing"), [("sage", "hard"), ("gcn", "mimo")])
def test_a_step_in_parts_is_the_step_in_one(customers, tasks, batch_size, encoder, sharing):
    assert_parts_add_up(customers, tasks, batch_size, encoder, sharing)


@dataclass(frozen=True, kw_only=True, eq=False)
class SameNegatives(BoundLinks):
    """Links whose negatives follow from their edge alone, not from the microbatch as well."""

    def pairs(self, seeds: np.ndarray, split: str, key: int) -> Pairs:
        """Return what is compared, as microbatch 0 would draw it."""
        return super().pairs(seeds, split, 0)


def bound(options, store):
    """Bind tasks; the negatives of an edge are the same in every microbatch."""
    tasks = {name: Task.read(its).bind(name, store) for name, its in options.items()}
    return {
        name: SameNegatives(**{f.name: getattr(task, f.name) for f in fields(task)})
        if isinstance(task, BoundLinks)
        else task
        for name, task in tasks.items()
    }


@SIZES
@pytest.mark.parametrize(
    ("encoder", "sharing"), [("sage", "hard"), ("gat", "mimo"), ("gin", "ple")]
)
@pytest.mark.parametrize(
    ("options", "silent"),
    [
        (EDGE_TASKS, ("user__buys__item", "item__rev_buys__user")),
        (FRIEND_TASKS, ("user__friend__user",)),
    ],
)
def test_a_step_of_edges_in_parts_is_the_step_in_one_where_edges_of_their_type_carry_no_messages(
    mixed_shop, options, silent, batch_size, encoder, sharing
):
    """An edge is hidden in the microbatch that scores it and in no other.

    So parts and whole read different graphs, by design, unless no message passes along such edges.
    """
    tasks = bound(options, mixed_shop)
    num_neighbors = {"default": [-1, -1], **dict.fromkeys(silent, SILENT)}
    assert_parts_add_up(mixed_shop, tasks, batch_size, encoder, sharing, num_neighbors)


@pytest.fixture(scope="module")
def molecules(tmp_path_factory) -> GraphStore:
    """Forty paths of one to six atoms, both ways; half of what is known of them is missing."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("losses") / "graph"
    sizes = rng.integers(1, 7, 40)
    first, atoms = np.append(0, np.cumsum(sizes)), np.arange(sizes.sum())
    writer = GraphWriter(folder, name="molecules")
    writer.add_nodes("atom", len(atoms), rng.random((len(atoms), 3), np.float32))
    writer.add_label("atom", "charge", "class", rng.integers(-1, 2, len(atoms)), num_classes=2)
    writer.add_split("atom", "split", rng.integers(1, 4, len(atoms)))
    writer.add_collection("molecule", "atom", first)
    writer.add_label("molecule", "toxic", "multilabel", rng.integers(-1, 2, (40, 3)), num_classes=3)
    writer.add_label(
        "molecule", "mass", "regression", np.where(rng.random(40) < 0.5, sizes, np.nan)
    )
    writer.add_label("molecule", "kind", "class", rng.integers(-1, 3, 40), num_classes=3)
    writer.add_split("molecule", "split", rng.choice([1, 2, 3], 40, p=[0.6, 0.2, 0.2]))
    here = np.setdiff1d(atoms, first[1:] - 1)
    features = rng.random((2 * len(here), 2), np.float32)
    ends = np.append(here, here + 1), np.append(here + 1, here)
    writer.add_edges(("atom", "bond", "atom"), *ends, features=features)
    writer.finish()
    return GraphStore(folder)


@SIZES
@pytest.mark.parametrize(("encoder", "sharing"), [("gin", "hard"), ("gcn", "mimo"), ("pna", "cgc")])
def test_a_step_of_graphs_in_parts_is_the_step_in_one(molecules, batch_size, encoder, sharing):
    assert_parts_add_up(molecules, bound(GRAPH_TASKS, molecules), batch_size, encoder, sharing)


def test_without_any_label_the_loss_is_exactly_0(customers, tasks):
    model = model_of(customers, tasks, "sage", "hard")
    empty = build_stream(Loader(num_neighbors=(2, 2)), customers, tasks).loader([None])
    assert task_losses(model(empty), empty, tasks).tolist() == [0] * len(tasks)


def test_the_loss_is_the_mean_over_all_labels_of_the_step(customers, tasks):
    model = model_of(customers, tasks, "sage", "hard")
    options = {"num_neighbors": (-1, -1), "global_batch_size": STEP}
    parts = build_stream(Loader(batch_size=5, **options), customers, tasks)
    losses = dict(zip(tasks, gradient(model, parts, tasks, 0)[0], strict=True))
    (whole,) = build_stream(Loader(batch_size=STEP, **options), customers, tasks).microbatches([0])
    logits, target = model(whole)["segment"], whole.target["segment"]
    torch.testing.assert_close(losses["segment"], F.cross_entropy(logits, target).detach())
    logits, target = model(whole)["interests"], whole.target["interests"]
    known = target >= 0
    mean = F.binary_cross_entropy_with_logits(logits[known], target[known].double()).detach()
    torch.testing.assert_close(losses["interests"], mean)
