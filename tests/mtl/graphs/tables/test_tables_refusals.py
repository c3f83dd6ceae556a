"""Wrong data is refused with file, row, column, value, what is allowed, and how many such rows."""

# ruff: noqa: E501 a message stands in one line

import datetime as dt
from decimal import Decimal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mtl.errors import ConfigError, DataError

INF = float("inf")
NODES = {"n": {"files": "n.csv", "id": "id"}}
PEOPLE = "id,x\n1,5\n2,6\n3,7\n"


def refusal(build, files, error=DataError, **section):
    """Return what is said, without the folder."""
    with pytest.raises(error) as caught:
        build(files, **section)
    lines = str(caught.value).splitlines()
    return [line[line.rfind("/", 0, line.find(": ")) + 1 :] for line in lines]


def node_refusal(build, columns, error=DataError, **options):
    files = {"n.parquet": columns}
    return refusal(build, files, error, nodes={"n": {"files": "n.parquet", **options}})


@pytest.mark.parametrize(
    ("feature", "values", "wanted"),
    [
        ("numeric", [1.0, INF, -INF], "row 2: column 'x': inf; allowed: a finite number, or nothing (2 such rows)"),
        ("numeric", ["1", "2,5", "x"], "row 2: column 'x': '2,5'; allowed: a finite number, or nothing (2 such rows)"),
        ("numeric", [[1], [2], None], "row 1: column 'x': [1]; allowed: a finite number, or nothing (2 such rows)"),
        ("boolean", ["yes", "2", None], "row 2: column 'x': '2'; allowed: true or false, yes or no, 1 or 0, or nothing (1 such row)"),
        ("vector", [[1, 2], None, [1, 2, 3]], "row 3: column 'x': [1, 2, 3]; allowed: a list of 2 finite numbers, or nothing (1 such row)"),
        ("vector", [[1.0, 2], [1, INF], [1, None]], "row 2: column 'x': [1.0, inf]; allowed: a list of 2 finite numbers, or nothing (2 such rows)"),
        ("vector", ["1,2", "1,b", "3"], "row 2: column 'x': '1,b'; allowed: a list of 2 finite numbers, or nothing (2 such rows)"),
        ("vector", [[1, 2], [9, None, 8], None], "row 2: column 'x': [9, None, 8]; allowed: a list of 2 finite numbers, or nothing (1 such row)"),
        ("vector", ["1,2,3", "4,,5,6", "7,8,"], "row 2: column 'x': '4,,5,6'; allowed: a list of 3 finite numbers, or nothing (2 such rows)"),
        ("vector", [[], [1, 2]], "row 1: column 'x': []; allowed: a list of 2 finite numbers, or nothing (1 such row)"),
        ("vector", pa.array([None, []], pa.list_(pa.int8())), "row 1: column 'x': no value; allowed: a list of numbers in one of the rows at least (2 such rows)"),
        ("categorical", [None, [1]], "row 2: column 'x': [1]; allowed: one of at most 1048576 words or numbers; else take `kind: bag` (1 such row)"),
        ("boolean", [None, {"a": True}], "row 2: column 'x': {'a': True}; allowed: true or false, yes or no, 1 or 0, or nothing (1 such row)"),
        ("bag", [[["a"]], None], "row 1: column 'x': [['a']]; allowed: a list of words or integers, or nothing (1 such row)"),
        ("bag", [3.5, 1.0, None], "row 1: column 'x': 3.5; allowed: a list of words or integers, or nothing (2 such rows)"),
        ("timestamp", ["2024-01-01", "2024-02-30", "now"], "row 2: column 'x': '2024-02-30'; allowed: a date and time such as 2024-01-31T12:00:00, an integer, or nothing (2 such rows)"),
        ("timestamp", [1, 2**60, 3], "row 2: column 'x': 1152921504606846976; allowed: a date and time such as 2024-01-31T12:00:00, an integer, or nothing (1 such row)"),
    ],
)  # fmt: skip
def test_a_wrong_feature(build, feature, values, wanted):
    assert node_refusal(build, {"x": values}, features={"x": feature}) == [f"n.parquet: {wanted}"]


def test_a_number_too_large_for_the_dtype_of_the_features(build):
    raw = {"x": {"kind": "numeric", "transform": "none"}}
    found = node_refusal(build, {"x": [1.0, 7e4]}, features=raw, feature_dtype="float16")
    assert found == ["n.parquet: row 2: column 'x': 70000.0; allowed: what fits float16 once transformed (1 such row)"]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "values", "wanted"),
    [
        ("regression", [1.0, INF], "row 2: column 'y': inf; allowed: a finite number, or nothing (1 such row)"),
        ("regression", [1.0, 1e39], "row 2: column 'y': 1e+39; allowed: a finite number, or nothing (1 such row)"),
        ({"kind": "class", "classes": ["a", "b"]}, ["a", "c", None, "d"], "row 2: column 'y': 'c'; allowed: one of the classes a, b, or nothing (2 such rows)"),
        ({"kind": "multilabel", "num_classes": 2}, [[1], [0, 2], [-1]], "row 2: column 'y': [0, 2]; allowed: one of the classes 0, 1, or nothing, in each place of the list (2 such rows)"),
        ({"kind": "class", "classes": ["1.1", "1.10", 2]}, [1.1, 2.0], "row 1: column 'y': 1.1; allowed: one of the classes 1.1, 1.10, 2, or nothing (1 such row)"),
        ("class", [None, {"a": 1}], "row 2: column 'y': {'a': 1}; allowed: a word or a number, or nothing (1 such row)"),
        ("multilabel", [1, 2], "row 1: column 'y': 1; allowed: a list of classes, or nothing (2 such rows)"),
        ({"kind": "multilabel", "columns": ["y"]}, ["yes", "perhaps"], "row 2: column 'y': 'perhaps'; allowed: true or false, yes or no, 1 or 0, or nothing (1 such row)"),
    ],
)  # fmt: skip
def test_a_wrong_label(build, label, values, wanted):
    assert node_refusal(build, {"y": values}, labels={"y": label}) == [f"n.parquet: {wanted}"]


def test_ids_that_are_missing_or_stand_twice(build):
    found = node_refusal(build, {"id": ["a", None, None]}, id="id")
    assert found == [
        "n.parquet: row 2: column 'id': no value; allowed: an id in every row (2 such rows)"
    ]
    for ids in (["a", "b", "a", "a"], [1, 2, 1, 1], [10**12, 2, 10**12, 10**12]):
        found = node_refusal(build, {"id": ids}, id="id")
        assert found == [f"n.parquet: row 3: column 'id': {ids[0]!r}; allowed: every id once (2 such rows)"]  # fmt: skip
    found = node_refusal(build, {"id": [1.5, 2.0]}, id="id")
    assert found == ["n.parquet: row 1: column 'id': 1.5; allowed: an integer above -2**63, or a string (1 such row)"]  # fmt: skip


def test_an_id_that_stands_in_two_files_is_told_with_the_second(build):
    files = {"n/a.csv": "id\n1\n2\n", "n/b.csv": "id,where\n3,x\n4,\n2,x\n"}
    found = refusal(build, files, nodes={"n": {"files": "n", "id": "id"}})
    assert found == ["b.csv: row 3: column 'id': 2; allowed: every id once (1 such row)"]


EDGES = {
    "w": ("weight", [1.0, -1.0, INF, None], "-1.0; allowed: a finite number from 0 in every row (3 such rows)"),
    "t": ("time", [1, None, 3, 4], "no value; allowed: a date or an integer in every row (1 such row)"),
    "s": ("split", ["train", "tset", "val", "x"], "'tset'; allowed: train, val, test, none or nothing, or 0 to 3 (2 such rows)"),
    "parts": ("split", [None, ["val"], None, ["x"]], "['val']; allowed: train, val, test, none or nothing, or 0 to 3 (2 such rows)"),
    "src": ("src", [1, 9, 3, 8], "9; allowed: the id of a node 'n', or `unknown_ids: drop` (2 such rows)"),
    "dst": ("dst", [1, None, 3, 2], "no value; allowed: the id of a node 'n' in every row (1 such row)"),
}  # fmt: skip


@pytest.mark.parametrize("column", EDGES)
def test_a_wrong_edge(build, column):
    option, values, wanted = EDGES[column]
    columns = {"src": [1, 2, 3, 1], "dst": [2, 3, 1, 1]} | {column: values}
    options = {option: {"column": column} if option == "split" else column}
    files = {"n.csv": PEOPLE, "e.parquet": columns}
    edges = {"n__to__n": {"files": "e.parquet", **options}}
    found = refusal(build, files, nodes=NODES, edges=edges)
    assert found == [f"e.parquet: row 2: column {column!r}: {wanted}"]


def test_all_that_is_wrong_with_the_rows_of_a_table_is_told_at_once_and_counted_over_files(build):
    files = {
        "n.csv": PEOPLE,
        "e/1.csv": "src,dst,w\n1,2,-1\n1,7,1\n",
        "e/2.csv": "src,dst,w\n7,2,-5\n1,1,\n",
    }
    edges = {"n__to__n": {"files": "e/*.csv", "weight": "w"}}
    assert refusal(build, files, nodes=NODES, edges=edges) == [
        "1.csv: row 2: column 'dst': 7; allowed: the id of a node 'n', or `unknown_ids: drop` (1 such row)",
        "1.csv: row 1: column 'w': -1; allowed: a finite number from 0 in every row (3 such rows in 2 files)",
        "2.csv: row 1: column 'src': 7; allowed: the id of a node 'n', or `unknown_ids: drop` (1 such row)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "ends", "kinds"),
    [
        ([1, 2], ["1", "2"], ("strings", "integers", "integer")),
        (["1", "2"], [1, 2], ("integers", "strings", "text")),
        ([1, 2], [1.0, 2.0], ("double", "integers", "integer")),
    ],
)
def test_integers_are_never_taken_for_strings_until_types_says_so(build, ids, ends, kinds):
    files = {"n.parquet": {"id": ids}, "e.parquet": {"src": ends, "dst": ids}}
    nodes, edge = {"n": {"files": "n.parquet", "id": "id"}}, {"files": "e.parquet"}
    (found,) = refusal(build, files, ConfigError, nodes=nodes, edges={"n__to__n": edge})
    assert f"graph.edges.n__to__n.src: 'src' holds {kinds[0]} in " in found
    assert found.endswith(
        f"but the ids of 'n' are {kinds[1]}; give graph.edges.n__to__n.types.src: {kinds[2]}"
    )
    edge["types"] = {"src": kinds[2]}
    assert len(build(files, nodes=nodes, edges={"n__to__n": edge}).csc(("n", "to", "n"))[1]) == 2


def test_ids_of_two_kinds_in_two_files(build):
    files = {"n/a.parquet": {"id": [1]}, "n/b.parquet": {"id": ["x"]}}
    (found,) = refusal(build, files, nodes={"n": {"files": "n", "id": "id"}})
    assert found == "graph.nodes.n.id: 'id' holds integers in one file and strings in another; give graph.nodes.n.types.id"  # fmt: skip


def test_times_that_cannot_be_compared(build):
    files = {"n.csv": "id,t\n1,2024-01-01\n", "e.csv": "src,dst,t\n1,1,5\n"}
    nodes = {"n": {"files": "n.csv", "id": "id", "time": "t"}}
    edges = {"n__to__n": {"files": "e.csv", "time": "t"}}
    (found,) = refusal(build, files, ConfigError, nodes=nodes, edges=edges)
    assert found == (
        "graph.edges.n__to__n.time: 't' holds integers, but the times of graph.nodes.n are dates: "
        "they cannot be compared"
    )


def test_a_table_without_a_row(build):
    for options in ({}, {"where": "x > 100"}):
        (found,) = refusal(build, {"n.csv": "id,x\n" + "1,2\n" * bool(options)}, nodes={"n": {**NODES["n"], **options}})  # fmt: skip
        assert found == "graph.nodes.n: there is no row in it"
    files = {"n.csv": PEOPLE, "e.csv": "src,dst\n8,9\n"}
    edges = {"n__to__n": {"files": "e.csv", "unknown_ids": "drop"}}
    (found,) = refusal(build, files, nodes=NODES, edges=edges)
    assert found == "graph.edges.n__to__n: there is no edge in it"


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("n.parquet", "PAR1 no more", "n.parquet: cannot be read as Parquet: "),
        ("n.csv", "", "n.csv: cannot be read as CSV in UTF-8: "),
        ("n.csv", "id,id\n1,2\n", "n.csv: two columns have the name 'id'"),
        ("n.parquet", pa.Table.from_arrays([pa.array([1])] * 2, ["id", "id"]), "n.parquet: two columns have the name 'id'"),
        ("n.csv", "id,x\n1,2\n3\n", "n.csv: row 2: 1 cells: '3'; allowed: 2 (1 such row)"),
        ("n.csv", "id,x\n1,2\n\n3,4\n3,5\n\n", "n.csv: row 2: column 'id': no value; allowed: an id in every row (1 such row)"),
        ("n.csv", 'id,x\n1,2\n3\n4,"5\n6",7\n8,9\n', "n.csv: row 2: 1 cells: '3'; allowed: 2 (2 such rows)"),
        ("n.csv.gz", "id,x\n1,2\n", "n.csv.gz: cannot be read as CSV in UTF-8: "),
    ],
)  # fmt: skip
def test_a_file_that_is_broken(build, name, content, wanted):
    (found,) = refusal(build, {name: content}, nodes={"n": {"files": name, "id": "id"}})
    assert found.startswith(wanted)


def test_parquet_that_breaks_in_the_middle(build, tmp_path):
    whole = build({"n.parquet": {"id": np.arange(100_000)}}, nodes={"n": {"files": "n.parquet"}})
    path = whole.folder.parent / "n.parquet"
    content = bytearray(path.read_bytes())
    content[100:5000] = bytes(4900)
    (whole.folder.parent / "broken.parquet").write_bytes(content)
    nodes = {"n": {"files": str(whole.folder.parent / "broken.parquet"), "id": "id"}}
    (found,) = refusal(build, {}, nodes=nodes)
    assert found.startswith("broken.parquet: cannot be read as Parquet: ")


def test_a_name_in_parquet_that_is_not_utf_8(build, tmp_path):
    path = tmp_path / "n.parquet"
    pq.write_table(pa.table({"id": [1, 2], "café": [3, 4]}), path)
    path.write_bytes(path.read_bytes().replace("café".encode(), b"caf\xc9\xff"))
    (found,) = refusal(build, {}, nodes={"n": {"files": str(path), "id": "id"}})
    assert found.startswith("n.parquet: cannot be read as Parquet: ")


def test_text_that_is_not_utf_8(build, tmp_path):
    (tmp_path / "n.csv").write_bytes("id,name\n1,Zoë\n".encode("latin1"))
    nodes = {"n": {"files": str(tmp_path / "n.csv"), "labels": {"name": "class"}}}
    (found,) = refusal(build, {}, nodes=nodes)
    assert found.startswith("n.csv: cannot be read as CSV in UTF-8: ")


def test_a_value_that_sql_cannot_take_is_told_with_its_row(build):
    files = {"n.csv": "id,x\n" + "".join(f"{i},v{i}\n" for i in range(1, 90))}
    options = {"columns": {"y": "substr(x, 2)::int / (id - 77)::utinyint"}, "where": "id > 70"}
    (found,) = refusal(build, files, nodes={"n": {"files": "n.csv", "features": {"y": "numeric"}, **options}})  # fmt: skip
    assert found.startswith("n.csv: row 71: graph.nodes.n: Conversion Error: ")


def test_integers_beyond_64_bits(build):
    ids = pa.array([1, 2**63 + 5], pa.uint64())
    (found,) = node_refusal(build, {"id": ids}, id="id")
    assert found == "n.parquet: row 2: column 'id': 9223372036854775813; allowed: what fits 64 bits; give graph.nodes.n.types.id: text (1 such row)"  # fmt: skip
    store = build({"n.parquet": {"id": ids}}, nodes={"n": {"files": "n.parquet", "id": "id", "types": {"id": "text"}}})  # fmt: skip
    assert store.ids("n").of(np.arange(2)) == ["1", "9223372036854775813"]


def test_a_cell_of_another_type_than_types_says(build):
    (found,) = refusal(build, {"n.csv": PEOPLE + "4,six\n5,7.5\n"}, nodes={"n": {**NODES["n"], "types": {"x": "integer"}, "features": {"x": "numeric"}}})  # fmt: skip
    assert found == "n.csv: row 4: column 'x': 'six'; allowed: integer, as graph.nodes.n.types says (2 such rows)"  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        (pa.array([1.0, float("nan"), 1.5]), "integer", "row 3: column 'x': 1.5"),
        ([0, 5, 1], "boolean", "row 2: column 'x': 5"),
        ([1, None, 2**62 + 1], "timestamp", "row 3: column 'x': 4611686018427387905"),
        ([[1], None], "text", "row 1: column 'x': [1]"),
        ([dt.date(2024, 1, 1)], "number", "row 1: column 'x': datetime.date(2024, 1, 1)"),
    ],
)
def test_a_value_that_is_not_of_the_type_that_types_says(build, values, kind, wanted):
    options = {"types": {"x": kind}, "labels": {"x": "class"}}
    (found,) = node_refusal(build, {"x": values}, **options)
    assert (
        found == f"n.parquet: {wanted}; allowed: {kind}, as graph.nodes.n.types says (1 such row)"
    )


def test_what_does_not_fit_64_bits(build):
    fits = "allowed: what fits 64 bits; give graph.nodes.n.types.x: text (1 such row)"
    decimals = pa.array([Decimal(1), Decimal(2**63)], pa.decimal128(20, 0))
    (found,) = node_refusal(build, {"x": decimals}, labels={"x": "class"})
    assert found == f"n.parquet: row 2: column 'x': Decimal('{2**63}'); {fits}"
    (found,) = node_refusal(build, {"x": pa.array([0, 10**14], pa.timestamp("s"))}, time="x")
    assert found.startswith("n.parquet: row 2: column 'x': ")
    assert found.endswith(fits)
    sum_ = {"columns": {"y": f"x::hugeint + {2**63}"}, "id": "y"}
    (found,) = refusal(build, {"n.csv": PEOPLE}, nodes={"n": {"files": "n.csv", **sum_}})
    assert found.endswith("allowed: what fits 64 bits; cast it (3 such rows)")


def test_numbers_that_are_no_ids(build):
    for ids, value in (([1.0, float("nan"), 3.0], None), ([1, -(2**63)], -(2**63))):
        (found,) = node_refusal(build, {"id": ids}, id="id")
        assert found.startswith(
            f"n.parquet: row 2: column 'id': {value or 'no value'}; allowed: an "
        )


def test_a_file_that_is_found_twice(build):
    files = {"n.csv": "id\n1\n"}
    (found,) = refusal(build, files, ConfigError, nodes={"n": {"files": ["n.csv", "*.csv"]}})
    assert found.endswith("n.csv is found 2 times; its rows would be too")


def test_a_split_without_a_row_that_trains(build):
    options = {"split": {"column": "part"}, "features": {"x": "categorical"}}
    wanted = "features are learned from the rows that train, and in the first split there is none"
    (found,) = node_refusal(build, {"x": ["u"], "part": ["test"]}, **options)
    assert found == f"graph.nodes.n: {wanted}"
    files = {"n.csv": PEOPLE, "e.csv": "src,dst,x,part\n1,2,u,test\n"}
    edges = {"n__to__n": {"files": "e.csv", **options}}
    assert refusal(build, files, nodes=NODES, edges=edges) == [f"graph.edges.n__to__n: {wanted}"]


def test_names_that_differ_in_case_alone(build):
    files = {"n/a.parquet": {"Age": [3]}, "n/b.parquet": {"age": [5]}}
    (found,) = refusal(build, files, ConfigError, nodes={"n": {"files": "n", "where": "age > 3"}})
    assert "a.parquet has no column 'age'; did you mean 'Age'?" in found
    both = {"features": {"Age": "numeric"}, "where": "age > 3"}
    (found,) = node_refusal(build, {"Age": [3], "age": [5]}, ConfigError, **both)
    assert found == "graph.nodes.n: SQL cannot tell columns apart that differ in case alone"


def test_an_object_store_that_fails_while_it_is_asked(build):
    class Failing(MemoryFileSystem):
        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("failing:/"))

        def info(self, path, **options):
            if asked.append(path) or len(asked) > 1:
                raise PermissionError("no more")
            return super().info(path, **options)

    asked = []
    fsspec.filesystem("memory").pipe("/failing/n.csv", b"id\n1\n")
    fsspec.register_implementation("failing", Failing, clobber=True)
    nodes = {"n": {"files": "failing://failing/n.csv"}}
    (found,) = refusal(build, {}, ConfigError, nodes=nodes)
    assert found.endswith("cannot be listed: no more")


def test_a_file_without_a_time_is_told_and_says_not_what_times_are(build):
    files = {"n/a.parquet": {"t": pa.nulls(1)}, "n/b.parquet": {"t": [5]}}
    (found,) = refusal(build, files, nodes={"n": {"files": "n", "time": "t"}})
    assert (
        found
        == "a.parquet: row 1: column 't': no value; allowed: a date or an integer in every row (1 such row)"
    )
