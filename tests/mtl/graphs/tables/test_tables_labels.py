"""Labels and splits of nodes and edges are what the columns and rules say."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

EDGE = ("n", "to", "n")


def owner(build, columns, on_edges, **options):
    """Convert a table of nodes, or of a chain of edges, with these columns; return its owner."""
    count = len(next(iter(columns.values())))
    if not on_edges:
        return build({"n.parquet": columns}, nodes={"n": {"files": "n.parquet", **options}}), "n"
    ends = {"src": list(range(count)), "dst": list(range(1, count + 1))}
    files = {"n.parquet": {"id": list(range(count + 1))}, "e.parquet": {**ends, **columns}}
    nodes = {"n": {"files": "n.parquet", "id": "id"}}
    return build(files, nodes=nodes, edges={"n__to__n": {"files": "e.parquet", **options}}), EDGE


BOTH = pytest.mark.parametrize("on_edges", [False, True], ids=["nodes", "edges"])


@BOTH
@pytest.mark.parametrize(
    ("values", "classes", "numbers"),
    [
        (["b", None, "a", "", "b"], ("a", "b"), [1, -1, 0, -1, 1]),
        ([10, 9, None, 2, 10], ("2", "9", "10"), [2, 1, -1, 0, 2]),
        ([1.0, float("nan"), 3.0, 1.0, None], ("1", "3"), [0, -1, 1, 0, -1]),
        ([True, False, None, True, True], ("false", "true"), [1, 0, -1, 1, 1]),
        (["10", "9", "2", None, "2"], ("2", "9", "10"), [2, 1, 0, -1, 0]),
        (["nan", "9", "10", None, "inf"], ("10", "9", "inf", "nan"), [3, 1, 0, -1, 2]),
    ],
)
def test_classes_are_sorted_and_keep_their_names(build, on_edges, values, classes, numbers):
    store, who = owner(build, {"y": values}, on_edges, labels={"y": "class"})
    label = store.label(who, "y")
    assert (label.classes, label.num_classes, label.values.tolist()) == (
        classes,
        len(classes),
        numbers,
    )


@BOTH
def test_given_classes_have_the_order_of_yaml(build, on_edges):
    label = {"kind": "class", "classes": ["low", "high", "never"]}
    store, who = owner(build, {"y": ["high", "low", None]}, on_edges, labels={"y": label})
    assert store.label(who, "y").values.tolist() == [1, 0, -1]
    assert store.label(who, "y").classes == ("low", "high", "never")


@BOTH
def test_a_regression_keeps_units_and_misses_what_is_empty(build, on_edges):
    store, who = owner(
        build, {"v": [1.5, None, float("nan")]}, on_edges, labels={"v": "regression"}
    )
    assert np.array_equal(store.label(who, "v").values, [1.5, np.nan, np.nan], equal_nan=True)


@BOTH
def test_a_list_says_which_classes_and_no_list_that_nothing_is_known(build, on_edges):
    label = {"kind": "multilabel", "num_classes": 3}
    store, who = owner(build, {"y": [[0, 2], None, []]}, on_edges, labels={"y": label})
    assert store.label(who, "y").values.tolist() == [[1, 0, 1], [-1, -1, -1], [0, 0, 0]]


def test_members_of_lists_are_found_sorted_and_named(build):
    store, who = owner(build, {"y": [["b"], None, ["a", "b"]]}, False, labels={"y": "multilabel"})
    assert store.label(who, "y").classes == ("a", "b")
    assert store.label(who, "y").values.tolist() == [[0, 1], [-1, -1], [1, 1]]


@BOTH
def test_columns_of_truths_are_a_multilabel_of_which_each_may_be_missing(build, on_edges):
    columns = {"p": [True, None, False], "q": ["yes", "no", None]}
    label = {"kind": "multilabel", "columns": ["p", "q"]}
    store, who = owner(build, columns, on_edges, labels={"y": label})
    assert store.label(who, "y").classes == ("p", "q")
    assert store.label(who, "y").values.tolist() == [[1, 1], [-1, 0], [0, -1]]


@BOTH
@pytest.mark.parametrize(
    "values",
    [
        ["train", "val", "test", None, "none", ""],
        ["Train", "validation", "TEST", None, "None", None],
        [1, 2, 3, None, 0, 0],
    ],
)
def test_a_column_says_the_split(build, on_edges, values):
    store, who = owner(build, {"part": values}, on_edges, split={"column": "part"})
    assert store.splits(who) == ["split"]
    assert store.split(who).tolist() == [1, 2, 3, 0, 0, 0]


def test_a_random_split_of_nodes_has_exact_shares(build):
    rule = {"kind": "random", "train": 0.5, "val": 0.25, "test": 0.125, "seed": 1}
    again = {"again": rule, "other": {**rule, "seed": 2}, "first": rule}
    store, _ = owner(build, {"x": list(range(800))}, False, splits=again)
    assert np.bincount(store.split("n", "first")).tolist() == [100, 400, 200, 100]
    assert store.splits("n") == ["again", "other", "first"]
    assert np.array_equal(store.split("n", "first"), store.split("n", "again"))
    assert not np.array_equal(store.split("n", "first"), store.split("n", "other"))


def test_a_random_split_of_edges_has_its_shares_on_average(build):
    store, _ = owner(build, {"x": list(range(20_000))}, True, split="random")
    shares = np.bincount(store.split(EDGE), minlength=4) / 20_000
    assert shares == pytest.approx([0, 0.6, 0.2, 0.2], abs=0.01)


@BOTH
def test_the_past_trains_and_the_future_tests(build, on_edges):
    days = pa.array([None, "2024-01-09", "2024-01-10", "2024-02-01", "2023-12-31"])
    rule = {"kind": "temporal", "column": "t", "val_from": "2024-01-10", "test_from": "2024-02-01"}
    for column in (
        days,
        days.cast(pa.timestamp("ms")),
        days.cast(pa.timestamp("s")).cast(pa.date32()),
    ):
        store, who = owner(build, {"t": column}, on_edges, split=rule)
        assert store.split(who).tolist() == [0, 1, 2, 3, 1]
    rule = {"kind": "temporal", "val_from": 5, "test_from": 9}
    store, who = owner(build, {"t": [4, 5, 8, 9, 0]}, on_edges, split=rule, time="t")
    assert store.split(who).tolist() == [1, 2, 2, 3, 1]


def test_so_many_of_each_class_train_and_validate(build):
    classes = ["a"] * 10 + ["b"] * 7 + [None] * 3 + ["c"] * 4
    rule = {"kind": "per_class", "label": "y", "train": 3, "val": 2}
    splits = {"rest": rule, "two": {**rule, "test": 2}}
    store, _ = owner(build, {"y": classes}, False, labels={"y": "class"}, splits=splits)
    numbers = store.label("n", "y").values
    count = {
        name: [
            np.bincount(store.split("n", name)[numbers == c], minlength=4).tolist()
            for c in range(3)
        ]
        for name in splits
    }
    assert count["rest"] == [[0, 3, 2, 5], [0, 3, 2, 2], [0, 3, 1, 0]]
    assert count["two"] == [[3, 3, 2, 2], [0, 3, 2, 2], [0, 3, 1, 0]]
    assert not store.split("n", "rest")[numbers < 0].any()


def test_edges_may_be_classified_by_their_training_rows_alone(build):
    columns = {"x": [0.0, 2.0, 100.0], "part": ["train", "train", "val"]}
    store, who = owner(build, columns, True, features={"x": "numeric"}, split={"column": "part"})
    assert store.edge_features(who).tolist() == [[-1], [1], [99]]


@BOTH
@pytest.mark.parametrize(
    ("values", "classes", "numbers"),
    [
        ([True, False], [False, True], [1, 0]),
        ([True, False], ["False", "True"], [1, 0]),
        ([1.5, 2.0, None], ["2", "1.50"], [1, 0, -1]),
        ([3.0, 1.5], [1.5, 3], [1, 0]),
        ([dt.date(2024, 1, 2), dt.date(2024, 1, 1)], ["2024-01-01", "2024-01-02 00:00:00"], [1, 0]),
        (["1.50", "1.5"], ["1.5", "1.50"], [1, 0]),
    ],
)
def test_given_classes_are_found_as_the_type_of_the_column_writes_them(
    build, on_edges, values, classes, numbers
):
    label = {"kind": "class", "classes": classes}
    store, who = owner(build, {"y": values}, on_edges, labels={"y": label})
    assert store.label(who, "y").values.tolist() == numbers


def test_whole_numbers_of_any_length_are_classes_of_their_own(build):
    large = pa.array([Decimal(2**53 + 1), Decimal(2**53), None], pa.decimal128(20, 0))
    store, who = owner(build, {"y": large}, False, labels={"y": "class"})
    assert store.label(who, "y").classes == (str(2**53), str(2**53 + 1))


def test_dates_are_named_without_a_time_that_they_do_not_have(build):
    days = pa.array([0, 10**18], pa.timestamp("us"))  # Python knows no year after 9999
    store, who = owner(build, {"y": days}, False, labels={"y": "class"})
    assert store.label(who, "y").classes[0] == "1970-01-01"
    assert store.label(who, "y").num_classes == 2


def test_only_the_brackets_around_a_text_are_those_of_a_list(build):
    lists = ["Drama,Action (US)", "['Drama', '{x}']", "[]", None]
    store, who = owner(build, {"y": lists}, False, labels={"y": "multilabel"})
    assert store.label(who, "y").classes == ("Action (US)", "Drama", "{x}")
    assert store.label(who, "y").values.tolist() == [[1, 1, 0], [0, 1, 1], [0] * 3, [-1] * 3]


def test_features_of_edges_are_learned_from_those_of_the_graph(build):
    columns = {"src": [1, 2, 99, 1], "dst": [2, 1, 1, 1], "x": [0.0, 2.0, 1e3, 1e3]}
    options = {"unknown_ids": "drop", "self_loops": "drop", "features": {"x": "numeric"}}
    store = build(
        {"n.parquet": {"id": [1, 2]}, "e.parquet": columns},
        nodes={"n": {"files": "n.parquet", "id": "id"}},
        edges={"n__to__n": {"files": "e.parquet", **options}},
    )
    assert sorted(store.edge_features(EDGE).tolist()) == [[-1], [1]]


def test_both_directions_of_a_symmetrised_edge_are_drawn_together(build):
    pairs = [(a, b) for a in range(30) for b in range(30)]
    columns = {"src": [a for a, _ in pairs], "dst": [b for _, b in pairs]}
    store = build(
        {"n.parquet": {"id": list(range(30))}, "e.parquet": columns},
        nodes={"n": {"files": "n.parquet"}},
        edges={"n__to__n": {"files": "e.parquet", "symmetrise": True, "split": "random"}},
    )
    csc, part = store.topology().edges[EDGE], {}
    dst = np.repeat(np.arange(30), np.diff(csc.colptr))
    for a, b, split in zip(csc.row.tolist(), dst.tolist(), store.split(EDGE), strict=True):
        assert part.setdefault(frozenset((a, b)), split) == split
    assert set(part.values()) == {1, 2, 3}
