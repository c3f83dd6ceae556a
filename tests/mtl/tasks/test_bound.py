"""A task that does not fit its graph is refused by its YAML path."""

import numpy as np
import pytest

from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter
from mtl.tasks import Task

WRONG = {
    "label": (
        {"type": "node_classification", "label": "segmet"},
        r"^tasks\.topic\.label: .* no label 'segmet'; did you mean 'segment'\? .*churn",
    ),
    "kind": (
        {"type": "node_regression", "label": "churn"},
        r"^tasks\.topic\.label: 'churn' is a class label, node_regression needs .*: value\)",
    ),
    "split": (
        {"type": "node_classification", "label": "churn", "split": "rando"},
        r"^tasks\.topic\.split: expected one of random, few, found 'rando'.*'random'",
    ),
    "node_type": (
        {"type": "node_classification", "label": "churn", "node_type": "nod"},
        r"^tasks\.topic\.node_type: expected one of node, found 'nod'; did you mean 'node'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_unknown_name_is_refused_with_what_the_graph_has(customers, wrong):
    options, message = WRONG[wrong]
    with pytest.raises(ConfigError, match=message):
        Task.read(options).bind("topic", customers)


@pytest.fixture
def two_types(tmp_path) -> GraphStore:
    """Users whose test split has no label, and items."""
    writer = GraphWriter(tmp_path / "graph", name="two")
    writer.add_nodes("user", 4, np.ones((4, 2), np.float32))
    writer.add_nodes("item", 2)
    writer.add_label("user", "topic", "class", [0, 1, 1, -1], num_classes=2)
    writer.add_split("user", "halves", [1, 1, 2, 3])
    writer.add_edges(("item", "to", "user"), [0], [1])
    writer.finish()
    return GraphStore(tmp_path / "graph")


def test_a_split_without_a_label_is_refused(two_types):
    task = Task.read({"type": "node_classification", "label": "topic", "node_type": "user"})
    with pytest.raises(ConfigError, match=r"^tasks\.a: no node of the test split 'halves' has"):
        task.bind("a", two_types)


def test_several_node_types_have_to_be_chosen_from(two_types):
    task = Task.read({"type": "node_classification", "label": "topic"})
    with pytest.raises(ConfigError, match=r"^tasks\.a\.node_type: expected one of user, item, fou"):
        task.bind("a", two_types)


def test_targets_are_the_labels_in_the_type_that_losses_take(tasks):
    for task in tasks.values():
        seeds = task.seeds("val")[:7]
        targets = task.targets(seeds)
        assert targets.dtype.is_floating_point == (task.task.kind == "regression")
        assert targets.tolist() == task.label.values[seeds].tolist()


@pytest.mark.parametrize("kind", ["class", "regression"])
def test_labels_outside_the_training_split_change_no_statistics(kind, tmp_path):
    """What a head begins with must not tell of the test."""
    task = {"class": "node_classification", "regression": "node_regression"}[kind]
    more = {"num_classes": 3} if kind == "class" else {}
    found = []
    for last in (0, 2):
        writer = GraphWriter(tmp_path / str(last), name="leak")
        writer.add_nodes("node", 6, np.ones((6, 1), np.float32))
        writer.add_label("node", "y", kind, [0, 1, 2, last, last, last], **more)
        writer.add_split("node", "s", [1, 1, 1, 2, 3, 3])
        writer.add_edges(("node", "to", "node"), [0], [1])
        writer.finish()
        bound = Task.read({"type": task, "label": "y"}).bind("t", GraphStore(writer.folder))
        found.append([x.tolist() for x in bound.statistics if x is not None])
    assert found[0] == found[1]
