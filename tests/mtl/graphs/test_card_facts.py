"""The card's numbers are those of plain Python, whatever the chunks; its warnings are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.graphs._card import edges as edges_module
from mtl.graphs._card import labels as labels_module
from mtl.graphs._card.edges import Touched, edge_facts, pairs
from mtl.graphs._card.labels import PARTS, label_facts
from mtl.graphs.labels import Label

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    patch = pytest.MonkeyPatch()
    patch.setattr(edges_module, "CHUNK", 4)
    patch.setattr(labels_module, "CHUNK", 4)
    yield
    patch.undo()


def csc_of(edges, num_dst: int) -> tuple[np.ndarray, np.ndarray]:
    ordered = sorted(edges, key=lambda edge: edge[::-1])
    row = np.array([src for src, _ in ordered], np.int32)
    counts = np.bincount(np.array([dst for _, dst in ordered], np.int64), minlength=num_dst)
    return np.concatenate([[0], np.cumsum(counts)]), row


@given(PAIRS)
def test_edges_are_counted_as_in_plain_python(edges):
    nodes, (colptr, row) = Touched.none(6), csc_of(edges, 6)
    facts = edge_facts(colptr, row, nodes, nodes)
    degrees = [sum(dst == node for _, dst in edges) for node in range(6)]
    assert facts == {
        "num_edges": len(edges),
        "mean_in_degree": len(edges) / 6,
        "min_in_degree": min(degrees),
        "max_in_degree": max(degrees),
        "num_duplicates": len(edges) - len(set(edges)),
        "num_self_loops": sum(src == dst for src, dst in edges),
    }
    assert set(np.flatnonzero(nodes.into)) == {dst for _, dst in edges}
    assert set(np.flatnonzero(nodes.out)) == {src for src, _ in edges}


@given(PAIRS)
def test_pairs_are_the_edges_in_order(edges):
    colptr, row = csc_of(edges, 6)
    found = [pair for part in pairs(colptr, row) for pair in zip(*part, strict=True)]
    assert found == sorted(edges, key=lambda edge: edge[::-1])


def test_equal_numbers_of_two_types_are_no_self_loops():
    facts = edge_facts(*csc_of([(0, 0), (1, 1)], 6), Touched.none(6), Touched.none(6))
    assert facts["num_self_loops"] == 0


def test_a_type_without_nodes_has_no_degrees():
    facts = edge_facts(
        np.zeros(1, np.int64), np.zeros(0, np.int32), Touched.none(3), Touched.none(0)
    )
    assert facts["mean_in_degree"] == facts["min_in_degree"] == facts["max_in_degree"] == 0


SPLIT = st.lists(st.integers(0, 3), min_size=11, max_size=11)


@given(st.lists(st.integers(-1, 2), min_size=11, max_size=11), SPLIT)
def test_classes_are_counted_by_split_and_part(values, split):
    label = Label("topic", "class", np.array(values, np.int32), 3)
    facts = label_facts(label, {"s": np.array(split, np.uint8)})
    assert facts["num_labelled"] == [values.count(c) for c in range(3)]
    for part, value in PARTS.items():
        mine = [v for v, s in zip(values, split, strict=True) if s == value]
        known = [v for v in mine if v >= 0]
        found = facts["splits"]["s"][part]
        assert found["num_labelled"] == [known.count(c) for c in range(3)]
        assert (found["num_rows"], found["num_known"]) == (len(mine), len(known))
        assert found["coverage"] == (len(known) / len(mine) if mine else 0)


@given(st.lists(st.tuples(*[st.integers(-1, 1)] * 2), min_size=11, max_size=11), SPLIT)
def test_columns_are_counted_by_split_and_part(values, split):
    array, parts = np.array(values, np.int8), np.array(split, np.uint8)
    facts = label_facts(Label("tags", "multilabel", array, 2), {"s": parts})
    for found, rows in (
        (facts, array),
        *((facts["splits"]["s"][part], array[parts == value]) for part, value in PARTS.items()),
    ):
        assert found["num_labelled"] == (rows >= 0).sum(0).tolist()
        assert found["num_positive"] == (rows == 1).sum(0).tolist()
        assert found["num_known"] == (rows >= 0).any(1).sum()


@given(st.lists(st.floats(-1e3, 1e3, width=32) | st.just(np.nan), min_size=11, max_size=11))
def test_mean_and_deviation_are_those_of_numpy(values):
    array = np.array(values, np.float32)
    facts = label_facts(Label("value", "regression", array + np.float32(1e4), 1), {})
    known = (array + np.float32(1e4))[~np.isnan(array)].astype(np.float64)
    assert facts["num_known"] == len(known)
    if len(known):
        assert facts["mean"] == pytest.approx(known.mean(), rel=1e-12)
        assert facts["std"] == pytest.approx(known.std(), rel=1e-6, abs=1e-9)
        assert facts["quantiles"][2] == pytest.approx(np.median(known))
