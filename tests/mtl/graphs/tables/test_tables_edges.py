"""Reverse, symmetrise, self loops, duplicates and unknown ids against a plain reference."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mtl.graphs._tables import edge_stream, feature_matrix, spill
from mtl.graphs._tables.batch import Batch
from mtl.graphs._tables.feature_matrix import FeatureMatrix
from mtl.graphs._tables.options import Edges
from mtl.graphs.splits import hashed_split

FOLLOWS, FOLLOWED = ("n", "follows", "n"), ("n", "rev_follows", "n")
OPTIONS = st.fixed_dictionaries(
    {
        "duplicates": st.sampled_from(["keep", "drop"]),
        "self_loops": st.sampled_from(["keep", "drop", "add"]),
        "direction": st.sampled_from(["one", "symmetrise", "reverse"]),
    }
)
PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20)


def edges_of(store, edge_type):
    """Return (src, dst, weight) of all edges."""
    csc = store.topology().edges[edge_type]
    dst = np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr))
    return list(zip(csc.row.tolist(), dst.tolist(), csc.weight.tolist(), strict=True))


def reference(pairs, duplicates, self_loops, direction):
    """Say the same in plain Python: edges (src, dst, weight), the weight being the row."""
    edges, seen = [], set()
    for weight, (a, b) in enumerate(pairs):
        key = frozenset((a, b)) if direction == "symmetrise" else (a, b)
        if (duplicates == "drop" and key in seen) or (self_loops == "drop" and a == b):
            continue
        seen.add(key)
        edges.append((a, b, float(weight)))
        if direction == "symmetrise" and a != b:
            edges.append((b, a, float(weight)))
    if self_loops == "add":
        looped = {a for a, b, _ in edges if a == b}
        edges += [(node, node, 1.0) for node in range(6) if node not in looped]
    return edges


@settings(max_examples=60)
@given(pairs=PAIRS, options=OPTIONS)
@example(
    pairs=[(0, 1), (2, 2), (1, 0), (0, 1)],
    options={"duplicates": "drop", "self_loops": "keep", "direction": "symmetrise"},
)
def test_edges_are_those_of_the_reference(build, pairs, options):
    wanted, direction = reference(pairs, **options), options["direction"]
    assume(wanted)  # a table without an edge is refused
    a, b = zip(*pairs, strict=True)
    columns = {"src": a, "dst": b, "w": [float(i) for i in range(len(pairs))]}
    store = build(
        {"n.parquet": {"id": list(range(6))}, "e.parquet": columns},
        nodes={"n": {"files": "n.parquet", "id": "id"}},
        edges={"n__follows__n": {
            "files": "e.parquet", "weight": "w", "duplicates": options["duplicates"],
            "self_loops": options["self_loops"],
            **({} if direction == "one" else {direction: True}),
        }},
    )  # fmt: skip
    assert sorted(edges_of(store, FOLLOWS)) == sorted(wanted)
    if direction == "reverse":
        back = sorted((b, a, w) for a, b, w in edges_of(store, FOLLOWED))
        assert back == sorted(wanted)
    else:
        assert FOLLOWED not in store.edge_types
    symmetric = FOLLOWS if direction == "symmetrise" else None
    assert store.reverse(FOLLOWS) == (FOLLOWED if direction == "reverse" else symmetric)


def test_a_reverse_relation_has_weights_times_and_features_but_no_labels_and_splits(build):
    columns = {
        "src": [7, 7, 5],
        "dst": ["x", "y", "y"],
        "w": [1.0, 2.0, 3.0],
        "t": [1, 2, 3],
        "l": [0, 1, 1],
    }
    store = build(
        {"u.parquet": {"id": [5, 6, 7]}, "i.parquet": {"id": ["y", "x"]}, "e.parquet": columns},
        nodes={"u": {"files": "u.parquet", "id": "id"}, "i": {"files": "i.parquet", "id": "id"}},
        edges={"u__bought__i": {
            "files": "e.parquet", "weight": "w", "time": "t", "reverse": "by", "split": "random",
            "labels": {"l": "class"}, "features": {"w": {"kind": "numeric", "transform": "none"}},
        }},
    )  # fmt: skip
    there, back = ("u", "bought", "i"), ("i", "by", "u")
    assert (store.reverse(there), store.reverse(back)) == (back, there)
    csc = store.topology().edges[back]
    assert (csc.row.tolist(), csc.colptr.tolist()) == ([0, 0, 1], [0, 1, 1, 3])
    assert (
        csc.weight.tolist()
        == csc.time.tolist()
        == store.edge_features(back)[:, 0].tolist()
        == [3, 2, 1]
    )
    assert (store.labels(back), store.splits(back)) == ({}, [])
    assert (list(store.labels(there)), store.splits(there)) == (["l"], ["split"])


def test_both_directions_of_an_edge_have_its_label_and_split_and_an_added_loop_none(build):
    store = build(
        {"n.parquet": {"id": [0, 1, 2, 3]},
         "e.parquet": {"src": [0, 1, 2], "dst": [1, 2, 3], "y": ["a", "b", "c"],
                       "v": [1.0, 2.0, 3.0], "m": [[0], [1], None]}},
        nodes={"n": {"files": "n.parquet"}},
        edges={"n__follows__n": {
            "files": "e.parquet", "symmetrise": True, "self_loops": "add", "split": "random",
            "labels": {"y": "class", "v": "regression",
                       "m": {"kind": "multilabel", "num_classes": 2}},
        }},
    )  # fmt: skip
    split = hashed_split(np.array([4, 9, 14]), 0.6, 0).tolist()  # 4 * dst + src
    csc = store.topology().edges[FOLLOWS]
    dst = np.repeat(np.arange(4), np.diff(csc.colptr))
    pairs = list(zip(csc.row.tolist(), dst.tolist(), strict=True))
    edge = [min(a, b) if a != b else 3 for a, b in pairs]
    label = {name: store.label(FOLLOWS, name).values for name in ("y", "v", "m")}
    assert label["y"].tolist() == [[0, 1, 2, -1][e] for e in edge]
    assert np.array_equal(label["v"], [[1, 2, 3, np.nan][e] for e in edge], equal_nan=True)
    assert label["m"].tolist() == [[[1, 0], [0, 1], [-1, -1], [-1, -1]][e] for e in edge]
    assert store.split(FOLLOWS).tolist() == [[*split, 0][e] for e in edge]


def test_duplicates_are_found_across_parts_that_are_sorted_one_by_one(build, monkeypatch):
    monkeypatch.setattr(edge_stream, "SORTED_BYTES", 400)
    monkeypatch.setattr(spill, "CHUNK_BYTES", 100)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 12, (500, 2))
    columns = {"src": pairs[:, 0], "dst": pairs[:, 1], "w": np.arange(500.0)}
    store = build(
        {"n.parquet": {"id": list(range(12))}, "e.parquet": columns},
        nodes={"n": {"files": "n.parquet", "id": "id"}},
        edges={"n__follows__n": {"files": "e.parquet", "weight": "w", "duplicates": "drop"}},
    )
    wanted = reference([tuple(pair) for pair in pairs.tolist()], "drop", "keep", "one")
    assert sorted(edges_of(store, FOLLOWS)) == sorted(wanted)


def test_edges_with_an_unknown_end_are_dropped_where_that_is_asked_for(build):
    store = build(
        {"n.parquet": {"id": ["a", "b", "c"], "age": [1, 2, 3]},
         "e.csv": {"src": ["a", "x", "c", "b"], "dst": ["b", "a", "a", "c"]}},
        nodes={"n": {"files": "n.parquet", "id": "id", "where": "age < 3"}},
        edges={"n__follows__n": {"files": "e.csv", "unknown_ids": "drop"}},
    )  # fmt: skip
    assert store.ids("n").of(np.arange(2)) == ["a", "b"]
    csc = store.topology().edges[FOLLOWS]
    assert (csc.row.tolist(), csc.colptr.tolist()) == ([0], [0, 0, 1])


CONVERT = """
import sys
from pathlib import Path
from mtl.graphs import Source, _blocks, _npy
from mtl.graphs._tables import parquet, spill
from mtl.graphs.writer import GraphWriter
parquet.BATCH_BYTES = spill.CHUNK_BYTES = _blocks.BLOCK_BYTES = _npy.CHUNK_BYTES = 1 << 20
folder, edges = Path(sys.argv[1]), {"files": sys.argv[2], "weight": "w", "reverse": True}
source = Source.read({"type": "tables", "root": str(folder), "edges": {"n__to__n": edges},
                      "nodes": {"n": {"files": "n.parquet", "id": "id"}}})
source.write(GraphWriter(folder / sys.argv[2][:-8], name="big"))
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) * 1024)
"""


def test_memory_does_not_grow_with_the_edges(tmp_path):
    peaks, sizes, rng = [], [300_000, 1_500_000], np.random.default_rng(0)
    pq.write_table(pa.table({"id": rng.permutation(10_000) + 10**12}), tmp_path / "n.parquet")
    for size in sizes:
        ends = {end: rng.integers(0, 10_000, size) + 10**12 for end in ("src", "dst")}
        edges = pa.table({**ends, "w": rng.random(size, np.float32)})
        pq.write_table(edges, tmp_path / f"{size}.parquet", row_group_size=50_000)
        command = [sys.executable, "-c", CONVERT, str(tmp_path), f"{size}.parquet"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(ended.stdout))
    stored = 8 * (sizes[1] - sizes[0])  # the least that each edge would take: source and weight
    assert peaks[1] - peaks[0] < stored


def test_loops_that_are_added_come_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "CHUNK_BYTES", 100)
    spilled = spill.Spill(tmp_path)
    spilled.append({"src": np.array([7, 1]), "dst": np.array([7, 2])})
    table = Edges(files=("e.csv",), self_loops="add")
    chunks = list(edge_stream.EdgeStream(spilled, table, 50, {}, tmp_path).forward())
    spilled.close()
    assert max(len(chunk.src) for chunk in chunks) == 100 // 16
    assert sorted(np.concatenate([chunk.dst for chunk in chunks])) == sorted([2, *range(50)])


def test_wide_labels_make_short_parts():
    batch = Batch("e.csv", np.arange(100), 0, {"x": pa.array(range(100))})
    parts = FeatureMatrix(Edges(files=("e.csv",))).parts(batch, feature_matrix.CHUNK_BYTES // 40)
    assert [len(part) for part in parts] == [40, 40, 20]
