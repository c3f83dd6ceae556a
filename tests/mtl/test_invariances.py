"""What must not matter does not: numbers of nodes, order of tasks, a task that stands there twice.

In double precision, without dropout, all neighbours: where only the order of sums differs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data

from mtl.graphs.schema import Owner
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._links import BoundLinks, Pairs
from mtl.tasks.bound import BoundTask
from mtl.tasks.losses import task_losses

CLOSE = {"atol": 1e-12, "rtol": 1e-9}
BUYS, SOLD = ("user", "buys", "item"), ("item", "rev_buys", "user")
FRIEND, MADE = ("user", "friend", "user"), ("maker", "makes", "item")
BOND = ("atom", "bond", "atom")
SHOP = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "class"},
    "price": {"type": "node_regression", "node_type": "item", "label": "regression"},
    "stars": {"type": "edge_classification", "edge_type": "user__buys__item", "label": "class"},
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item", "split": "links"},
    "friend": {
        "type": "link_prediction",
        "edge_type": "user__friend__user",
        "split": "links",
        "loss": "ranking",
        "num_negatives": 3,
    },
}
MOLECULES = {
    "charge": {"type": "node_multilabel", "label": "multilabel"},
    "length": {"type": "edge_regression", "label": "regression"},
    "bonded": {"type": "link_prediction", "split": "links", "num_negatives": 2},
    "toxic": {"type": "graph_multilabel", "label": "multilabel"},
    "mass": {"type": "graph_regression", "label": "regression", "pool": "sum"},
    "kind": {"type": "graph_classification", "label": "class"},
}
Numbers = Mapping[str, np.ndarray]
"""By node type (or collection), the new number of each node (or graph)."""


class Graph(NamedTuple):
    """A graph folder, with what became of each edge of the tables that it was written from."""

    store: GraphStore
    numbers: Numbers
    edges: dict[Owner, np.ndarray]
    """By edge type, where each edge stands in the folder."""

    def rows(self, owner: Owner) -> np.ndarray:
        """Return the row of each node, edge or graph of the tables."""
        return self.numbers[owner] if isinstance(owner, str) else self.edges[owner]


class Tables(NamedTuple):
    """A graph before it has numbers; rows of labels and splits are those of their owner."""

    nodes: dict[str, int]
    features: dict[str, np.ndarray]
    edges: dict[Owner, tuple[np.ndarray, np.ndarray]]
    edge_features: dict[Owner, np.ndarray]
    reverse: dict[Owner, Owner]
    labels: list[tuple[Owner, str, np.ndarray, int]]
    splits: list[tuple[Owner, str, np.ndarray]]
    sizes: np.ndarray | None = None
    """Atoms of each molecule, where there are molecules."""


def shop_of(seed: int) -> Tables:
    """Make purchases, some of them twice, and their reverse; mutual friends; makers unfeatured."""
    rng = np.random.default_rng(seed)
    nodes = {"user": 40, "item": 30, "maker": 6}
    src, dst = rng.integers(40, size=150), rng.integers(30, size=150)
    src[-15:], dst[-15:] = src[:15], dst[:15]
    one, other = np.triu_indices(40, 1)
    some = rng.choice(len(one), 70, replace=False)
    one, other = one[some], other[some]
    friends = np.append(one, other), np.append(other, one)
    purchases = rng.random((150, 2), np.float32)
    return Tables(
        nodes,
        {kind: rng.random((nodes[kind], 4), np.float32) for kind in ("user", "item")},
        {
            BUYS: (src, dst),
            SOLD: (dst, src),
            FRIEND: friends,
            MADE: (rng.integers(6, size=50), rng.integers(30, size=50)),
        },
        {BUYS: purchases, SOLD: purchases},
        {SOLD: BUYS, FRIEND: FRIEND},
        [
            ("user", "class", rng.integers(-1, 2, 40), 2),
            ("item", "regression", rng.random(30), 1),
            (BUYS, "class", rng.integers(-1, 3, 150), 3),
        ],
        [
            ("user", "split", split_of(40, rng)),
            ("item", "split", split_of(30, rng)),
            (BUYS, "split", split_of(150, rng)),
            (BUYS, "links", split_of(150, rng)),
            (FRIEND, "links", np.tile(split_of(70, rng), 2)),
        ],
    )


def molecules_of(seed: int) -> Tables:
    """Make twenty-five rings of directed bonds, with a few more bonds inside of each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 7, 25)
    atoms, start = np.arange(sizes.sum()), np.repeat(np.cumsum(sizes) - sizes, sizes)
    size = np.repeat(sizes, sizes)
    following, any_other = atoms - start + 1, rng.integers(size)
    src, dst = np.tile(atoms, 2), np.append(start + following % size, start + any_other)
    bonds = len(src)
    return Tables(
        {"atom": len(atoms)},
        {"atom": rng.random((len(atoms), 4), np.float32)},
        {BOND: (src, dst)},
        {BOND: rng.random((bonds, 2), np.float32)},
        {},
        [
            ("atom", "multilabel", rng.integers(-1, 2, (len(atoms), 2)), 2),
            (BOND, "regression", rng.random(bonds), 1),
            ("molecule", "multilabel", rng.integers(-1, 2, (25, 3)), 3),
            ("molecule", "regression", rng.random(25), 1),
            ("molecule", "class", rng.integers(-1, 2, 25), 2),
        ],
        [
            ("atom", "split", split_of(len(atoms), rng)),
            (BOND, "split", split_of(bonds, rng)),
            (BOND, "links", split_of(bonds, rng)),
            ("molecule", "split", split_of(25, rng)),
        ],
        sizes,
    )


def split_of(rows: int, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(1 + np.arange(rows) % 5 % 3)


def same_numbers(tables: Tables) -> Numbers:
    graphs = {} if tables.sizes is None else {"molecule": np.arange(len(tables.sizes))}
    return {kind: np.arange(count) for kind, count in tables.nodes.items()} | graphs


def other_numbers(tables: Tables, rng: np.random.Generator) -> Numbers:
    """Draw new numbers; the atoms of a molecule stay together."""
    if tables.sizes is None:
        return {kind: rng.permutation(count) for kind, count in tables.nodes.items()}
    sizes, graphs = tables.sizes, rng.permutation(len(tables.sizes))
    first = np.cumsum(moved(sizes, graphs)) - moved(sizes, graphs)
    atoms = [
        first[graph] + rng.permutation(size) for graph, size in zip(graphs, sizes, strict=True)
    ]
    return {"molecule": graphs, "atom": np.concatenate(atoms)}


def moved(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return rows at their new places."""
    out = np.empty_like(values)
    out[numbers] = values
    return out


def write(tables: Tables, numbers: Numbers, folder: Path) -> Graph:
    """Write a graph whose nodes have these numbers."""
    writer, places = GraphWriter(folder, name="graph"), {}
    for kind, count in tables.nodes.items():
        features = tables.features.get(kind)
        its = None if features is None else moved(features, numbers[kind])
        writer.add_nodes(kind, count, its)
    if tables.sizes is not None:
        sizes = moved(tables.sizes, numbers["molecule"])
        writer.add_collection("molecule", "atom", np.append(0, np.cumsum(sizes)))
    for kind, ends in tables.edges.items():
        src, dst = numbers[kind[0]][ends[0]], numbers[kind[2]][ends[1]]
        more = {"features": tables.edge_features.get(kind), "reverse": tables.reverse.get(kind)}
        writer.add_edges(kind, src, dst, **more)
        places[kind] = moved(np.arange(len(src)), np.lexsort((src, dst)))
    for owner, name, values, classes in tables.labels:
        its = moved(values, numbers[owner]) if isinstance(owner, str) else values
        writer.add_label(owner, name, name, its, num_classes=classes)
    for owner, name, values in tables.splits:
        its = moved(values, numbers[owner]) if isinstance(owner, str) else values
        writer.add_split(owner, name, its)
    writer.finish()
    return Graph(GraphStore(folder), numbers, places)


@dataclass(frozen=True, kw_only=True, eq=False)
class Renumbered(BoundLinks):
    """Links whose negatives are those of the same edges in another graph.

    Negatives are drawn by the numbers of edges and nodes: with other numbers they are others.
    """

    original: BoundLinks
    back: np.ndarray
    """Which edge of the other graph each is."""
    numbers: Numbers

    def pairs(self, seeds: np.ndarray, split: str, key: int) -> Pairs:
        """Return what is compared in the other graph, with the numbers of this one."""
        pairs = self.original.pairs(self.back[seeds], split, key)
        ends = zip(self.node_types, pairs, strict=True)
        src, dst = (self.numbers[kind][nodes] for kind, nodes in ends)
        src[:, 0], dst[:, 0] = self.hiding.ends(seeds)  # perhaps the other way round
        return Pairs(src, dst)


def forward(task: BoundTask, first: Graph, second: Graph) -> np.ndarray:
    """Return the row in the second graph of each row of the first that a task may read.

    An undirected edge is read in the direction from its smaller end.
    """
    rows = moved(second.rows(task.owner), first.rows(task.owner))
    if not (isinstance(task, BoundLinks) and task.undirected):
        return rows
    csc = second.store.topology().edges[task.owner]
    src, dst = csc.row[rows].astype(np.int64), csc.destination(rows)
    return np.where(src < dst, rows, csc.find(dst, src)[0])


def renumbered(task: BoundTask, original: BoundTask, first: Graph, second: Graph) -> BoundTask:
    """Let a task on links compare the same pairs as on the first graph."""
    if not isinstance(original, BoundLinks):
        return task
    every = np.concatenate([original.seeds(split) for split in ("train", "val", "test")])
    back = np.full(len(original.split), -1)
    back[forward(original, first, second)[every]] = every
    more = {"original": original, "back": back, "numbers": second.numbers}
    return Renumbered(**{f.name: getattr(task, f.name) for f in fields(task)}, **more)


def bound(options: Mapping[str, Mapping[str, Any]], store: GraphStore) -> dict[str, BoundTask]:
    return {name: Task.read(its).bind(name, store) for name, its in options.items()}


def build(
    store: GraphStore, tasks: Mapping[str, BoundTask], encoder: str, sharing: str
) -> MultiTaskModel:
    torch.manual_seed(0)
    options = Model(
        encoder=Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0}),
        sharing=Sharing.read({"type": sharing}),
        dim=8,
    )
    return build_model(options, store, tasks).double()


def stream_of(
    store: GraphStore, tasks: Mapping[str, BoundTask], encoder: str, num_neighbors: int = -1
) -> Any:
    options = Encoder.read({"type": encoder})
    return build_stream(
        Loader(num_neighbors=(num_neighbors,) * 2, batch_size=48),
        store,
        tasks,
        num_hops=options.num_hops,
        edge_features=options.reads_edge_features,
    )


class Step(NamedTuple):
    """What a model makes of a batch, by task, and the gradient by weight."""

    predictions: dict[str, Tensor]
    losses: dict[str, Tensor]
    gradient: dict[str, Tensor]


def step_of(model: MultiTaskModel, batch: Data, tasks: Mapping[str, BoundTask]) -> Step:
    """Compute the gradient of the mean of the weighted losses."""
    model.zero_grad()
    predictions = model(batch)
    losses = task_losses(predictions, batch, tasks)
    weights = losses.new_tensor([task.task.weight for task in tasks.values()])
    (losses * weights).mean().backward()
    return Step(
        {name: out.detach() for name, out in predictions.items()},
        dict(zip(tasks, losses.detach(), strict=True)),
        {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad},
    )


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


def rename(weights: Mapping[str, Tensor], numbers: Numbers) -> dict[str, Tensor]:
    """Return weights, or their gradient, with the learned vectors of nodes at their new places."""
    out = dict(weights)
    for name, value in weights.items():
        if ".learned." in name:
            kind = name.removesuffix(".weight").rpartition("__")[2]
            out[name] = torch.from_numpy(moved(value.numpy(), numbers[kind]))
    return out


def assert_numbers_do_not_matter(
    tables: Tables,
    options: Mapping[str, Mapping[str, Any]],
    numbers: Numbers,
    folder: Path,
    encoder: str,
    sharing: str,
) -> None:
    first = write(tables, same_numbers(tables), folder / "first")
    second = write(tables, numbers, folder / "second")
    tasks = bound(options, first.store)
    its = {
        name: renumbered(task, tasks[name], first, second)
        for name, task in bound(options, second.store).items()
    }
    model, other = (build(first.store, tasks, encoder, sharing) for _ in range(2))
    other.load_state_dict(rename(model.state_dict(), numbers))
    streams = [stream_of(first.store, tasks, encoder), stream_of(second.store, its, encoder)]
    to = {task.group: forward(task, first, second) for task in tasks.values()}
    streams[1].order.groups = {
        group: to[group][seeds] for group, seeds in streams[0].order.groups.items()
    }
    for number in range(2):
        wanted = step_of(model, streams[0].loader([number]), tasks)
        found = step_of(other, streams[1].loader([number]), its)
        assert_same(found.predictions, wanted.predictions)
        assert_same(found.losses, wanted.losses)
        assert_same(found.gradient, rename(wanted.gradient, numbers))


def turned(names: list[str], steps: int) -> list[tuple[str, str]]:
    """Return each name with one of the ways of sharing, others for other steps."""
    sharings = Sharing.types()
    return [(name, sharings[(i + steps) % len(sharings)]) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("encoder", "sharing"), turned([kind for kind in Encoder.types() if kind != "gcn"], 0)
)
def test_numbers_of_nodes_of_several_types_do_not_matter(encoder, sharing, tmp_path):
    tables = shop_of(0)
    numbers = other_numbers(tables, np.random.default_rng(1))
    assert_numbers_do_not_matter(tables, SHOP, numbers, tmp_path, encoder, sharing)


@pytest.mark.parametrize(("encoder", "sharing"), turned(Encoder.types(), 4))
def test_numbers_of_atoms_and_molecules_do_not_matter(encoder, sharing, tmp_path):
    tables = molecules_of(0)
    numbers = other_numbers(tables, np.random.default_rng(1))
    assert_numbers_do_not_matter(tables, MOLECULES, numbers, tmp_path, encoder, sharing)


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    made=st.sampled_from([(shop_of, SHOP), (molecules_of, MOLECULES)]),
    encoder=st.sampled_from(["sage", "gat", "gin", "pna", "rgcn", "hgt", "mlp"]),
    sharing=st.sampled_from(Sharing.types()),
)
def test_numbers_do_not_matter_in_any_graph(tmp_path_factory, seed, made, encoder, sharing):
    tables, folder = made[0](seed), tmp_path_factory.mktemp("numbers")
    numbers = other_numbers(tables, np.random.default_rng(seed))
    assert_numbers_do_not_matter(tables, made[1], numbers, folder, encoder, sharing)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    tables = shop_of(0)
    return write(tables, same_numbers(tables), tmp_path_factory.mktemp("shop") / "graph").store


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    tables = molecules_of(0)
    return write(tables, same_numbers(tables), tmp_path_factory.mktemp("molecules") / "graph").store


@pytest.mark.parametrize(("name", "options"), [("shop", SHOP), ("molecules", MOLECULES)])
@pytest.mark.parametrize("sharing", Sharing.types())
@settings(max_examples=3)
@given(data=st.data())
def test_the_order_of_the_tasks_does_not_matter(request, sharing, name, options, data):
    store, order = request.getfixturevalue(name), data.draw(st.permutations(list(options)))
    encoder = data.draw(st.sampled_from(["sage", "gat", "hgt"]))
    num_neighbors = data.draw(st.sampled_from([-1, 3]))
    tasks = [bound({name: options[name] for name in names}, store) for names in (options, order)]
    models = [build(store, its, encoder, sharing) for its in tasks]
    models[1].load_state_dict(models[0].state_dict())
    wanted_step, found_step = (
        step_of(model, stream_of(store, its, encoder, num_neighbors).loader([0]), its)
        for model, its in zip(models, tasks, strict=True)
    )
    for found, wanted in zip(found_step, wanted_step, strict=True):
        assert_same(found, wanted)


EACH = pytest.mark.parametrize(
    ("graph", "options"),
    [("shop", its) for its in SHOP.values()] + [("molecules", its) for its in MOLECULES.values()],
    ids=[*SHOP, *MOLECULES],
)


def once_and_twice(
    store: GraphStore, options: Mapping[str, Any], *shares: float
) -> tuple[Step, Step, list[Data]]:
    """Train a task alone, and the same under two names, with weights, in hard sharing."""
    tasks = bound({"one": options}, store)
    twins = {name: {**options, "weight": w} for name, w in zip("ab", shares, strict=True)}
    both = bound(twins, store)
    alone, model = (build(store, its, "gat", "hard") for its in (tasks, both))
    one = alone.state_dict()
    model.load_state_dict(
        {k: one[re.sub(r"^heads\.[ab]\.", "heads.one.", k)] for k in model.state_dict()}
    )
    batches = [stream_of(store, its, "gat").loader([1]) for its in (tasks, both)]
    return step_of(alone, batches[0], tasks), step_of(model, batches[1], both), batches


def trunk(step: Step) -> dict[str, Tensor]:
    return {n: grad for n, grad in step.gradient.items() if n.startswith("bottom.")}


def head(step: Step, task: str) -> dict[str, Tensor]:
    prefix = f"heads.{task}."
    return {n.removeprefix(prefix): g for n, g in step.gradient.items() if n.startswith(prefix)}


@EACH
def test_a_task_that_is_there_twice_changes_neither_seeds_nor_neighbours(request, graph, options):
    _, _, (alone, both) = once_and_twice(request.getfixturevalue(graph), options, 1.0, 1.0)
    for one, other in zip(alone.stores, both.stores, strict=True):
        for name in ("n_id", "e_id", "edge_index"):
            assert (name in one) == (name in other)
            assert name not in one or torch.equal(one[name], other[name])
    assert torch.equal(alone.rows["one"], both.rows["a"])
    assert torch.equal(alone.rows["one"], both.rows["b"])


@EACH
def test_the_mean_of_a_task_and_its_twin_is_the_task(request, graph, options):
    one, two, _ = once_and_twice(request.getfixturevalue(graph), options, 1.0, 1.0)
    assert_same(two.losses, dict.fromkeys("ab", one.losses["one"]))
    assert_same(trunk(two), trunk(one))
    for name in "ab":
        assert_same(head(two, name), {n: g / 2 for n, g in head(one, "one").items()})


@EACH
@settings(max_examples=3)
@given(share=st.floats(0.01, 0.99))
def test_a_task_whose_weight_two_twins_share_is_the_task(request, graph, options, share):
    """The loss is the mean over tasks, so twice the gradient is that of the one alone."""
    store = request.getfixturevalue(graph)
    one, two, _ = once_and_twice(store, options, share, 1 - share)
    assert_same({n: 2 * g for n, g in trunk(two).items()}, trunk(one))
    for name, its in zip("ab", (share, 1 - share), strict=True):
        assert_same(
            {n: 2 * g for n, g in head(two, name).items()},
            {n: its * g for n, g in head(one, "one").items()},
        )
