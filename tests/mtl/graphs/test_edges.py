"""Edges in any order and number become compressed sparse columns, in memory that is bounded."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.graphs import _blocks
from mtl.graphs._edges import sort_pairs
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import EdgeChunk, GraphWriter, LabelSpec

TYPE = ("a", "to", "b")
NUM_A, NUM_B = 7, 5
EDGES = st.lists(st.tuples(st.integers(0, NUM_A - 1), st.integers(0, NUM_B - 1)), max_size=60)
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LABELS = {
    "kind": LabelSpec(kind="class", num_classes=100, classes=tuple(map(str, range(100)))),
    "tags": LabelSpec(kind="multilabel", num_classes=2),
    "price": LabelSpec(kind="regression", best={"r2": 0.5}),
}


def columns(edges: list[tuple[int, int]]) -> dict[str, Any]:
    """Return what edges have: numbers that say which edge of the source they belong to."""
    place = np.arange(len(edges))
    return {
        "src": np.array([src for src, _ in edges], np.int64),
        "dst": np.array([dst for _, dst in edges], np.int64),
        "features": np.stack([place, -place], axis=1).astype(np.float32),
        "weight": place / 2,
        "time": 10 * place,
        "kind": place % 100,
        "tags": np.stack([place % 2, place % 3 - 1], axis=1),
        "price": np.where(place % 4, place, np.nan),
        "split": place % 4,
    }


def chunk_of(values: dict[str, Any], part: slice) -> EdgeChunk:
    cut = {name: array[part] for name, array in values.items()}
    labels = {name: cut.pop(name) for name in LABELS}
    return EdgeChunk(
        **{k: v for k, v in cut.items() if k != "split"}, labels=labels, splits={"s": cut["split"]}
    )


def new_writer(folder: Path, num_a: int = NUM_A, num_b: int = NUM_B) -> GraphWriter:
    writer = GraphWriter(folder, name="edges")
    writer.add_nodes("a", num_a)
    writer.add_nodes("b", num_b)
    return writer


def streamed(folder: Path, values: dict[str, Any], size: int) -> GraphStore:
    def chunks() -> Iterator[EdgeChunk]:
        for start in range(0, len(values["src"]), size):
            yield chunk_of(values, slice(start, start + size))

    writer = new_writer(folder)
    writer.stream_edges(
        TYPE, chunks, num_features=2, weight=True, time=True, labels=LABELS, splits=["s"]
    )
    writer.finish()
    return GraphStore(folder)


def given_at_once(folder: Path, values: dict[str, Any]) -> GraphStore:
    writer = new_writer(folder)
    single = {name: values[name] for name in ("src", "dst", "features", "weight", "time")}
    writer.add_edges(TYPE, **single)
    for name, spec in LABELS.items():
        writer.add_label(
            TYPE,
            name,
            spec.kind,
            values[name],
            num_classes=spec.num_classes,
            classes=spec.classes,
            best=spec.best,
        )
    writer.add_split(TYPE, "s", values["split"])
    writer.finish()
    return GraphStore(folder)


def contents(store: GraphStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


@PROPERTY
@given(edges=EDGES, size=st.integers(1, 70), block_bytes=st.sampled_from([1, 300, 2000, 1 << 26]))
def test_streamed_edges_are_the_bytes_of_edges_given_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    edges: list[tuple[int, int]],
    size: int,
    block_bytes: int,
) -> None:
    folder, values = tmp_path_factory.mktemp("edges"), columns(edges)
    once = given_at_once(folder / "once", values)
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", block_bytes)
    assert contents(streamed(folder / "streamed", values, size)) == contents(once)


@PROPERTY
@given(edges=EDGES, block_bytes=st.sampled_from([1, 2000]))
def test_edges_and_all_they_have_are_sorted_by_destination_source_and_place(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    edges: list[tuple[int, int]],
    block_bytes: int,
) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", block_bytes)
    values = columns(edges)
    store = streamed(tmp_path_factory.mktemp("edges"), values, 7)
    order = sorted(range(len(edges)), key=lambda i: (edges[i][1], edges[i][0], i))
    csc = store.topology().edges[TYPE]
    assert csc.row.tolist() == [edges[i][0] for i in order]
    degrees = [sum(dst == node for _, dst in edges) for node in range(NUM_B)]
    assert np.diff(csc.colptr).tolist() == degrees
    found = {
        "features": store.edge_features(TYPE),
        "weight": csc.weight,
        "time": csc.time,
        "split": store.split(TYPE),
        **{name: label.values for name, label in store.labels(TYPE).items()},
    }
    for name, array in found.items():
        assert np.array_equal(array, np.asarray(values[name])[order], equal_nan=True), name


@settings(max_examples=50, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(2**31 - 3, 2**31 - 1)), max_size=50))
def test_a_block_is_sorted_as_lexsort_does(pairs: list[tuple[int, int]]) -> None:
    dst = np.array([dst for dst, _ in pairs], np.int32)
    src = np.array([src for _, src in pairs], np.int32)
    found, place = sort_pairs(dst, src, 2**31)
    assert place.tolist() == np.lexsort((src, dst)).tolist()
    assert found.tolist() == src[place].tolist()


def test_keys_of_a_huge_graph_still_fit_into_64_bits(tmp_path: Path) -> None:
    num_a, num_b, rng = 2**40, 5000, np.random.default_rng(0)
    writer = new_writer(tmp_path, num_a, num_b)
    src, dst = rng.integers(num_a - 9, num_a, 20_000), rng.integers(num_b, size=20_000)
    writer.add_edges(TYPE, src, dst)
    writer.finish()
    colptr, row = GraphStore(tmp_path).csc(TYPE)
    order = np.lexsort((src, dst))
    assert np.array_equal(row, src[order])
    assert row.dtype == np.int64
    assert np.array_equal(np.repeat(np.arange(num_b), np.diff(colptr)), dst[order])


def test_memory_does_not_grow_with_the_number_of_edges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 1 << 20)

    def peak(num_chunks: int) -> int:
        def chunks() -> Iterator[EdgeChunk]:
            for seed in range(num_chunks):
                src, dst = np.random.default_rng(seed).integers(500, size=(2, 10_000))
                yield EdgeChunk(src, dst, time=src)

        writer = new_writer(tmp_path / str(num_chunks), 500, 500)
        tracemalloc.start()
        writer.stream_edges(TYPE, chunks, time=True)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(10), peak(60)
    assert many < 1.1 * few < 60 * 10_000 * 16


def changing(first: list[EdgeChunk], second: list[EdgeChunk]) -> Any:
    turns = iter([first, second])
    return lambda: iter(next(turns))


@pytest.mark.parametrize("block_bytes", [1, 1 << 26])
@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ([0, 1, 2, 3], [0, 1, 1, 4]),
        ([0, 1], [0, 1]),
        ([1, 2], [1, 1]),
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 2], [0, 1, 4]),
        ([], []),
    ],
)
def test_a_source_that_gives_other_edges_the_second_time_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    src: list[int],
    dst: list[int],
    block_bytes: int,
) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", block_bytes)
    before = [EdgeChunk([0, 1, 2], [0, 1, 1])]
    with pytest.raises(DataError, match="edges a__to__b: the source gave other edges when"):
        new_writer(tmp_path).stream_edges(TYPE, changing(before, [EdgeChunk(src, dst)]))


@pytest.mark.parametrize("wrong", [5, 2**40])
def test_a_source_that_is_out_of_range_the_second_time_is_refused(
    tmp_path: Path, wrong: int
) -> None:
    before, after = [EdgeChunk([0, 1], [0, 1])], [EdgeChunk([0, 1], [0, wrong])]
    with pytest.raises(DataError, match=f"destination: row 1: {wrong}; allowed: 0 to 4"):
        new_writer(tmp_path).stream_edges(TYPE, changing(before, after))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"src": [0, 9, -1, 1]}, "source: row 3: 9; allowed: 0 to 6 (and 3 more)"),
        ({"dst": [0, 1, 2, 5]}, "destination: row 5: 5; allowed: 0 to 4 (and 1 more)"),
        ({"weight": [0, 1, -1, np.inf]}, "weight: row 4: -1.0; allowed: finite numbers of at"),
        ({"weight": [0, 1e300, 1, 1]}, "weight: row 3: 1e+300; allowed: finite"),
        ({"time": [0, 1, 2, -(2**63)]}, "time: row 5: -9223372036854775808; allowed: whole"),
        ({"kind": [0, 1, 100, 0]}, "label 'kind': row 4: 100; allowed: 0 to 99, or -1"),
        ({"kind": [0, 0.5, 1, 0]}, "label 'kind': row 3: 0.5; allowed: 0 to 99, or -1"),
        ({"price": [0, 1, 2, np.inf]}, "label 'price': row 5: inf; allowed: finite numbers and"),
        ({"split": [0, 1, 2, -1]}, "split 's': row 5: -1; allowed: 0 none, 1 train"),
        ({"features": [[0, 1], [0, np.nan], [0, 0], [0, 0]]}, "features: row 3, column 1: nan"),
    ],
)
def test_a_wrong_value_is_named_by_its_place_in_the_source(
    tmp_path: Path, change: dict[str, list[Any]], message: str
) -> None:
    good = columns([(0, 0), (1, 1), (2, 2), (3, 3)])
    wrong = good | {name: np.array(values) for name, values in change.items()}
    parts = [chunk_of(good, slice(2)), chunk_of(wrong, slice(4)), chunk_of(wrong, slice(4))]
    writer = new_writer(tmp_path)
    with pytest.raises(DataError) as caught:
        writer.stream_edges(
            TYPE,
            lambda: iter(parts),
            num_features=2,
            weight=True,
            time=True,
            labels=LABELS,
            splits=["s"],
        )
    assert f"edges a__to__b, {message}" in str(caught.value)
    assert "more)" in str(caught.value)


def test_nothing_but_the_graph_stays_in_the_folder(tmp_path: Path) -> None:
    store = streamed(tmp_path, columns([(0, 1), (1, 0)]), 1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "graph.json",
        *(array.file for array in store.info.arrays()),
    }


def test_progress_is_reported_from_nothing_to_everything(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    writer = GraphWriter(tmp_path, name="edges", report=lambda *said: told.append(said))
    writer.add_nodes("a", 3, np.ones((3, 2), np.float32))
    parts = [EdgeChunk([0, 1], [1, 2]), EdgeChunk([2], [0])]
    writer.stream_edges(("a", "to", "a"), lambda: iter(parts))
    writer.finish()
    whats = list(dict.fromkeys(what for what, _, _ in told))
    assert whats == [
        "nodes a: features",
        "edges a__to__a: counting",
        "edges a__to__a: reading",
        "edges a__to__a: sorting",
        "checking",
    ]
    for what in whats:
        steps = [(done, total) for said, done, total in told if said == what]
        assert steps == sorted(steps)
        assert steps[-1][0] == (steps[-1][1] or 3)
