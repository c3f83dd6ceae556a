"""Every way of sharing with every encoder and every kind of task: what all combinations promise.

Here run combinations that hold every pair of (sharing, encoder), (sharing, task), (encoder, task);
`make soak` runs all others, too.
"""

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from job.state import TrainState
from mtl.balancing.equal import Equal
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.microbatch import MicrobatchLoader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._labelled import LabelTask
from mtl.tasks.bound import BoundTask, bind_tasks
from mtl.tasks.losses import task_losses

GRID = list(product(Sharing.types(), Encoder.types(), Task.types()))
BOND = ("atom", "bond", "atom")
UNLABELLED = {
    "feature_reconstruction": {},
    "link_prediction": {"num_negatives": 2, "val_share": 0.2, "test_share": 0.2},
}
"""Options of the tasks that read no label: a new one has to be named here."""
OTHER = {"type": "node_regression", "label": "regression", "split": "other"}
MASK = ".tokens."
"""Weights that stand in for the features of masked nodes, whoever looks at these."""
LISTENERS = {"cross_stitch", "ple"}
"""Where a task hears what is another's own, by design: but for its head."""


def pairs_of(triple: tuple[str, ...]) -> set[tuple[tuple[int, str], ...]]:
    """Return the pairs of a combination, each name with its place."""
    return set(combinations(enumerate(triple), 2))


def covering(grid: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Choose combinations, the one with the most new pairs first, until there is every pair."""
    missing, chosen = set().union(*map(pairs_of, grid)), []
    while missing:
        chosen.append(max(grid, key=lambda triple: len(pairs_of(triple) & missing)))
        missing -= pairs_of(chosen[-1])
    return chosen


FEW = covering(GRID)


def test_the_few_combinations_hold_every_pair_and_are_few() -> None:
    every = set().union(*map(pairs_of, GRID))
    sizes = [len(names) for names in (Sharing.types(), Encoder.types(), Task.types())]
    assert len(every) == sum(a * b for a, b in combinations(sizes, 2))
    assert set().union(*map(pairs_of, FEW)) == every
    assert len(FEW) < 1.6 * max(a * b for a, b in combinations(sizes, 2))


class Case(NamedTuple):
    """A model of two tasks: `it`, whose kind the case is about, and another one."""

    sharing: str
    tasks: dict[str, BoundTask]
    build: Callable[..., MultiTaskModel]
    """Makes the model of some of the tasks, from a seed."""
    model: MultiTaskModel
    loader: MicrobatchLoader
    batch: Data


def options_of(kind: str) -> dict[str, Any]:
    """Return the options of a kind of task on the molecules.

    Raises:
        KeyError: it reads no label and is not in `UNLABELLED`.
    """
    task = Task.named(kind)
    more = {"label": task.kind} if issubclass(task, LabelTask) else UNLABELLED[kind]
    return {"type": kind, **more}


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    """Forty rings with chords; atoms, bonds and molecules have labels, each called as its kind.

    There is one type of nodes and of edges, both with features: it suits every encoder.
    """
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("grid") / "graph"
    sizes = rng.integers(4, 8, 40)
    first, atoms = np.append(0, np.cumsum(sizes)), np.arange(sizes.sum())
    start, size = np.repeat(first[:-1], sizes), np.repeat(sizes, sizes)
    near, far = (start + (atoms - start + step) % size for step in (1, 2))
    src, dst = np.append(atoms, atoms[size > 4]), np.append(near, far[size > 4])
    writer = GraphWriter(folder, name="grid")
    writer.add_nodes("atom", len(atoms), rng.random((len(atoms), 5), np.float32))
    ends = np.hstack([src, dst]), np.hstack([dst, src])
    features = rng.random((len(ends[0]), 3), np.float32)
    writer.add_edges(BOND, *ends, features=features, reverse=BOND)
    writer.add_collection("molecule", "atom", first)
    for owner, rows in (("atom", len(atoms)), (BOND, len(features)), ("molecule", 40)):
        writer.add_label(owner, "class", "class", rng.integers(-1, 3, rows), num_classes=3)
        known = rng.integers(-1, 2, (rows, 2))
        writer.add_label(owner, "multilabel", "multilabel", known, num_classes=2)
        values = np.where(rng.random(rows) < 0.8, rng.random(rows), np.nan)
        writer.add_label(owner, "regression", "regression", values)
        for name in ("split", "other"):
            writer.add_split(owner, name, rng.choice([1, 2, 3], rows, p=[0.6, 0.2, 0.2]))
    writer.finish()
    return GraphStore(folder)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(triple, marks=() if triple in FEW else pytest.mark.soak, id="-".join(triple))
        for triple in GRID
    ],
)
def case(request: pytest.FixtureRequest, molecules: GraphStore) -> Case:
    sharing, encoder_type, kind = request.param
    tasks = bind_tasks({"it": Task.read(options_of(kind)), "other": Task.read(OTHER)}, molecules)
    encoder = Encoder.read({"type": encoder_type, "num_layers": 2, "dropout": 0.0})
    options = Model(encoder=encoder, sharing=Sharing.read({"type": sharing}), dim=16)
    loader = build_stream(
        Loader(num_neighbors=(4, 3), batch_size=60),
        molecules,
        tasks,
        num_hops=encoder.num_hops,
        edge_features=encoder.reads_edge_features,
    ).loader

    def build(*names: str, seed: int = 0) -> MultiTaskModel:
        torch.manual_seed(seed)
        model = build_model(options, molecules, {name: tasks[name] for name in names}).double()
        for name, parameter in model.named_parameters():
            if MASK in name:  # at 0, as it begins, no weight that reads it has a gradient
                torch.nn.init.normal_(parameter)
        return model

    return Case(sharing, tasks, build, build(*tasks), loader, loader([0]))


def reached(case: Case, task: str) -> set[str]:
    """Return the trained weights that the loss of one task alone has a gradient for."""
    case.model.zero_grad()
    losses = task_losses(case.model(case.batch), case.batch, case.tasks)
    losses[list(case.tasks).index(task)].backward()
    gradients = {name: p.grad for name, p in case.model.named_parameters()}
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients.values())
    return {name for name, grad in gradients.items() if grad is not None and grad.any()}


def trained(model: MultiTaskModel) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_every_prediction_is_finite_and_of_the_tasks_shape(case: Case) -> None:
    predictions, reads = case.model(case.batch), case.loader.reads(0)
    for name, task in case.tasks.items():
        links = task.task.type == "link_prediction"  # the edge and its negatives, in training
        width = 1 + UNLABELLED["link_prediction"]["num_negatives"] if links else task.num_outputs
        assert predictions[name].shape == (len(reads[name]), width)
        assert len(reads[name]) > 3
        assert predictions[name].isfinite().all()


@pytest.mark.parametrize(("task", "other"), [("it", "other"), ("other", "it")])
def test_the_loss_of_a_task_reaches_all_of_its_weights_and_none_of_anothers(
    case: Case, task: str, other: str
) -> None:
    found, its = reached(case, task), trained(case.build(task))
    assert its - found == set()
    assert trained(case.model) > its
    others = {name for name in found - its if MASK not in name}
    if case.sharing in LISTENERS:
        others = {name for name in others if f"heads.{other}." in name or f"1_{other}." in name}
    assert others == set()


def test_an_empty_batch_gives_gradients_of_exactly_zero(case: Case) -> None:
    case.model.zero_grad()
    empty = case.loader([None])
    task_losses(case.model(empty), empty, case.tasks).sum().backward()
    gradients = [p.grad for p in case.model.parameters() if p.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_a_checkpoint_gives_the_same_predictions_to_the_last_bit(
    case: Case, tmp_path: Path
) -> None:
    state_of(case.model).snapshot().write(tmp_path)
    other = case.build(*case.tasks, seed=1)
    before, expected = other(case.batch), case.model(case.batch)
    state_of(other).read(tmp_path)
    found = other(case.batch)
    for name in case.tasks:
        assert not torch.equal(before[name], expected[name])
        assert torch.equal(found[name], expected[name])


def state_of(model: MultiTaskModel) -> TrainState:
    """Return what a process alone saves, before the first step."""
    alone: Any = SimpleNamespace(unwrap=lambda model: model, scaler_state={})
    optimizer, balancer = torch.optim.AdamW(model.parameters()), Equal().build(list(model.heads))
    return TrainState(model, optimizer, alone, balancer)
