"""Tables -> folder -> store gives back what the tables said."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

WORD = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=5).filter(
    lambda word: word == word.strip()
)
INTEGER = st.one_of(st.integers(-50, 50), st.integers(-(2**62), 2**62))
NUMBER = st.floats(-1e6, 1e6, width=32)
PARTS = {"train": 1, "val": 2, "test": 3, "none": 0, None: 0}


def column(values: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=count, max_size=count)


@dataclass
class Case:
    """Columns of nodes and edges, and how their files are written."""

    suffix: str
    ids: list[Any]
    nodes: dict[str, list[Any]]
    edges: dict[str, list[Any]]
    num_files: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    suffix = draw(st.sampled_from(["parquet", "csv"]))
    ids = draw(
        st.lists(draw(st.sampled_from([INTEGER, WORD])), min_size=1, max_size=25, unique=True)
    )
    count = len(ids)
    nodes = {
        "id": ids,
        "x": draw(column(NUMBER, count)),
        "kind": draw(column(WORD, count)),
        "value": draw(column(NUMBER, count)),
        "when": draw(st.lists(INTEGER, min_size=count, max_size=count)),
        "part": ["train", *draw(column(st.sampled_from([*PARTS]), count - 1))],
    }
    num_edges = draw(st.integers(1, 40))
    some = {"min_size": num_edges, "max_size": num_edges}
    edges = {
        "src": draw(st.lists(st.sampled_from(ids), **some)),
        "dst": draw(st.lists(st.sampled_from(ids), **some)),
        "w": draw(st.lists(st.floats(0, 1e6, width=32), **some)),
        "when": draw(st.lists(INTEGER, **some)),
        "likes": draw(column(st.booleans(), num_edges)),
    }
    return Case(suffix, ids, nodes, edges, draw(st.integers(1, 3)))


def cut(columns: dict[str, list[Any]], name: str, case: Case) -> dict[str, Any]:
    """Cut a table into files whose names are in order."""
    table = pa.table(columns)
    step = math.ceil(len(table) / case.num_files)
    starts = range(0, len(table), step)
    return {f"{name}/{i}.{case.suffix}": table.slice(s, step) for i, s in enumerate(starts)}


def section(case: Case) -> dict[str, Any]:
    return {
        "nodes": {
            "n": {
                "files": "n",
                "id": "id",
                "features": {"x": {"kind": "numeric", "transform": "none"}},
                "labels": {"kind": "class", "value": "regression"},
                "time": "when",
                "split": {"column": "part"},
                "types": {"kind": "text"},
            }
        },
        "edges": {
            "n__to__n": {
                "files": f"e/*.{case.suffix}",
                "weight": "w",
                "time": "when",
                "labels": {"likes": "class"},
                "types": {"likes": "boolean"},
            }
        },
    }


@settings(max_examples=40)
@given(case=cases())
def test_the_store_gives_back_what_the_tables_said(build, case: Case) -> None:
    store = build({**cut(case.nodes, "n", case), **cut(case.edges, "e", case)}, **section(case))
    rows = np.arange(len(case.ids))
    ids = store.ids("n").of(rows) if store.ids("n") else rows.tolist()
    assert [str(i) for i in ids] == [str(i) for i in case.ids]
    x = [0.0 if value is None else value for value in case.nodes["x"]]
    assert store.features("n")[:, 0].tolist() == x
    assert words(store, "n", "kind") == case.nodes["kind"]
    value = np.array(case.nodes["value"], np.float32)
    assert np.array_equal(store.label("n", "value").values, value, equal_nan=True)
    assert store.time("n").tolist() == case.nodes["when"]
    assert store.split("n").tolist() == [PARTS[part] for part in case.nodes["part"]]
    assert edges_of(store) == edges_said(case)


def words(store: Any, owner: Any, name: str) -> list[str | None]:
    """Return the names of the classes of all rows."""
    label = store.label(owner, name)
    return [None if value < 0 else label.classes[value] for value in label.values]


def edges_of(store: Any) -> list[tuple[Any, ...]]:
    edge_type = ("n", "to", "n")
    csc = store.topology().edges[edge_type]
    dst = np.repeat(np.arange(len(csc.colptr) - 1), np.diff(csc.colptr))
    likes = words(store, edge_type, "likes")
    return list(
        zip(
            csc.row.tolist(),
            dst.tolist(),
            csc.weight.tolist(),
            csc.time.tolist(),
            likes,
            strict=True,
        )
    )


def edges_said(case: Case) -> list[tuple[Any, ...]]:
    row = {i: number for number, i in enumerate(case.ids)}
    likes = [None if value is None else str(value).lower() for value in case.edges["likes"]]
    ends = ([row[i] for i in case.edges[end]] for end in ("src", "dst"))
    edges = zip(*ends, case.edges["w"], case.edges["when"], likes, strict=True)
    return sorted(edges, key=lambda edge: (edge[1], edge[0]))
