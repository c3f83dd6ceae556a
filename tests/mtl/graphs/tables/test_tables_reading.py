"""Files of all formats and places are read as docs/data.md says."""

import gzip
import os
import subprocess
import sys
from decimal import Decimal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl.graphs import Source
from mtl.graphs._tables import csv, parquet
from mtl.graphs._tables.files import find
from mtl.graphs._tables.options import Nodes
from mtl.graphs.cache import open_graph
from mtl.graphs.tables import Tables


def classes(build, text, name="n.csv", **options):
    """Return the classes that a column `y` of a file has."""
    nodes = {"n": {"files": name, "labels": {"y": "class"}, **options}}
    return build({name: text}, nodes=nodes).label("n", "y").classes


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["7", "", "10"], ("7", "10")),
        (["7", "NA", "1.50"], ("1.5", "7")),
        ([" 7", "8 ", "n/a"], ("7", "8")),
        (["07001", "10115"], ("07001", "10115")),
        (["1e3", "2"], ("2", "1000")),
        (["true", "False"], ("false", "true")),
        (["yes", "no"], ("no", "yes")),
        (["NA", "DE"], ("DE", "NA")),
        (["2024-01-31", "2024-01-30T10:00:00Z"], ("2024-01-30 10:00:00", "2024-01-31")),
        (["9007199254740993", "9007199254740992"], ("9007199254740992", "9007199254740993")),
        (["12345678901234567890", "7"], ("7", "12345678901234567890")),
        (["1234567890123456.5", "+1.1"], ("+1.1", "1234567890123456.5")),
        (["0x10", "1_0"], ("0x10", "1_0")),
        (["1_0", "2"], ("1_0", "2")),
        (["\u0663", "\u0664"], ("\u0663", "\u0664")),
    ],
)
def test_all_cells_of_a_csv_column_decide_its_type(build, cells, names):
    assert classes(build, "x,y\n" + "".join(f"1,{cell}\n" for cell in cells)) == names


def test_a_type_may_show_late(build, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1 << 12)
    numbers = "".join(f"{i},1\n" for i in range(5000))
    assert classes(build, "x,y\n" + numbers + "1,late\n") == ("1", "late")


def test_types_decide_otherwise(build):
    assert classes(build, "x,y\n1,07\n2,7\n", types={"y": "integer"}) == ("7",)
    assert classes(build, "x,y\n1,7\n2,7.0\n", types={"y": "text"}) == ("7", "7.0")
    table = {"y": [1, 0, None]}
    assert classes(build, table, "n.parquet", types={"y": "boolean"}) == ("false", "true")
    assert classes(build, {"y": ["1", " 2", None]}, "n.parquet", types={"y": "number"}) == (
        "1",
        "2",
    )


def test_cells_may_hold_lines_quotes_and_other_delimiters(build):
    text = 'x;y\n1;"a;b\n""c"""\n2;"é"\n'
    assert classes(build, text, delimiter=";") == ('a;b\n"c"', "é")
    assert classes(build, "x\ty\n1\ta,b\n", "n.tsv") == ("a,b",)
    bare = {"format": "csv", "delimiter": " ", "header": ["x", "y"]}
    assert classes(build, "1 a\n2 b\n", "n.edges", **bare) == ("a", "b")


def test_a_compressed_file_is_read(build, tmp_path):
    with gzip.open(tmp_path / "n.csv.gz", "wt") as file:
        file.write("x,y\n1,a\n2,b\n")
    nodes = {"n": {"files": str(tmp_path / "n.csv.gz"), "labels": {"y": "class"}}}
    assert build({}, nodes=nodes).label("n", "y").classes == ("a", "b")


NAMES = ["a/1.csv", "a/b/2.csv", "a/b/x.txt", "a/_log/3.csv", "a/.4.csv", "a/readme.md", "z9.csv"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ("a", [0, 1, 2]),
        ("a/*.csv", [4, 0]),
        ("*/*/*.csv", [3, 1]),
        ("**/[1-2].csv", [0, 1]),
        ("a/**/?.csv", [0, 3, 1]),
        ("z?.csv", [6]),
        (["z9.csv", "a/b/[!2]*"], [6, 2]),
    ],
)
def test_folders_and_globs_name_files_in_the_order_of_their_names(build, files, found):
    content = {name: f"y\n{number}\n" for number, name in enumerate(NAMES)}
    raw = {"y": {"kind": "numeric", "transform": "none"}}
    store = build(content, nodes={"n": {"files": files, "features": raw}})
    assert store.features("n")[:, 0].tolist() == found


def test_urls_are_read_through_fsspec_and_arrow(build, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe("/shop/n/1.csv", b"y\na\n")
    memory.pipe("/shop/n/2.csv", b"y\nb\n")
    pq.write_table(pa.table({"src": [0], "dst": [1]}), tmp_path / "e.parquet")
    nodes = {"n": {"files": "n/*.csv", "labels": {"y": "class"}}}
    edges = {"n__to__n": {"files": f"file://{tmp_path}/e.parquet"}}
    tree = {"type": "tables", "root": "memory://shop", "nodes": nodes, "edges": edges}
    source = Source.read({**tree, "cache": str(tmp_path / "graph")})
    store = open_graph(source)
    assert store.label("n", "y").classes == ("a", "b")
    assert [path.name for path in source.files()] == ["e.parquet"]
    before = source.fingerprint()
    memory.pipe("/shop/n/2.csv", b"y\nlonger\n")
    assert source.fingerprint() != before


def test_a_file_that_changed_and_other_options_make_another_graph(tmp_path):
    (tmp_path / "n.csv").write_text("y\n1\n")
    tree = {"type": "tables", "root": str(tmp_path), "nodes": {"n": {"files": "*.csv"}}}
    first = Source.read(tree).fingerprint()
    assert Source.read(tree).fingerprint() == first
    assert Source.read({**tree, "name": "other"}).fingerprint() != first
    stat = (tmp_path / "n.csv").stat()
    os.utime(tmp_path / "n.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = Source.read(tree).fingerprint()
    assert touched != first
    (tmp_path / "m.csv").write_text("y\n1\n")
    assert Source.read(tree).fingerprint() != touched


def test_rows_that_where_leaves_keep_their_numbers(build):
    files = {"n/1.csv": "x\n5\n6\n7\n", "n/2.csv": "x\n8\n9\n", "e.csv": "src,dst\n1,4\n4,1\n"}
    nodes = {"n": {"files": "n", "where": "x % 2 = 0 OR x = 9", "labels": {"x": "class"}}}
    store = build(files, nodes=nodes, edges={"n__to__n": {"files": "e.csv"}})
    assert store.ids("n").of(np.arange(3)) == [1, 3, 4]
    assert store.label("n", "x").classes == ("6", "8", "9")
    assert store.csc(("n", "to", "n"))[1].tolist() == [2, 0]


def test_without_an_id_the_number_of_the_row_is_it(build):
    files = {"n.csv": "x\n5\n6\n", "e.csv": "src,dst\n0,1\n"}
    store = build(files, nodes={"n": {"files": "n.csv"}}, edges={"n__to__n": {"files": "e.csv"}})
    assert (store.num_nodes("n"), store.ids("n")) == (2, None)
    assert store.csc(("n", "to", "n"))[1].tolist() == [0]


def test_columns_may_use_those_above_and_where_any(build):
    options = {
        "columns": {"double": "x * 2", "more": "double + length(name)"},
        "where": "more > 5 AND try_cast(name AS int) IS NULL",
        "features": {"more": {"kind": "numeric", "transform": "none"}},
    }
    files = {"n.parquet": {"x": [1, 2, 3, 4], "name": ["abc", "de", "17", ""]}}
    store = build(files, nodes={"n": {"files": "n.parquet", **options}})
    assert store.features("n")[:, 0].tolist() == [6, 8]


def test_where_guards_what_columns_compute(build):
    options = {"columns": {"y": "name::int"}, "where": "name != 'x'", "labels": {"y": "regression"}}
    files = {"n.parquet": {"name": ["1", "x", "3"]}}
    store = build(files, nodes={"n": {"files": "n.parquet", **options}})
    assert store.label("n", "y").values.tolist() == [1, 3]


def test_sql_that_divides_by_zero_leaves_a_label_missing_or_is_refused(build):
    options = {"columns": {"y": "(a - b) / (a + b)"}, "labels": {"y": "regression"}}
    files = {"n.csv": "a,b\n3,1\n0,0\n,5\n"}
    store = build(files, nodes={"n": {"files": "n.csv", **options}})
    assert np.array_equal(store.label("n", "y").values, [0.5, np.nan, np.nan], equal_nan=True)


def test_batches_of_any_size_make_the_same_graph(build, monkeypatch):
    rng = np.random.default_rng(0)
    count = 700
    columns = {
        "id": rng.permutation(count),
        "x": rng.normal(size=count),
        "y": rng.integers(0, 9, count),
    }
    files = {
        "n.parquet": columns,
        "e.csv": pa.table(
            {"src": rng.integers(0, count, 3000), "dst": rng.integers(0, count, 3000)}
        ),
    }
    options = {
        "id": "id",
        "features": {"x": "numeric"},
        "labels": {"y": "class"},
        "where": "y != 3",
        "split": {"kind": "per_class", "label": "y", "train": 20, "val": 9},
    }
    section = {
        "nodes": {"n": {"files": "n.parquet", **options}},
        "edges": {"n__to__n": {"files": "e.csv", "unknown_ids": "drop", "split": "random"}},
    }
    one = build(files, **section)
    monkeypatch.setattr(parquet, "MOST_ROWS", 37)
    monkeypatch.setattr(csv, "BLOCK_BYTES", 256)
    two = build(files, **section)
    for path in sorted(one.folder.glob("*.npy")):
        first, second = np.load(path), np.load(two.folder / path.name)
        close = np.allclose(first, second, atol=1e-6) if first.dtype.kind == "f" else False
        assert close or np.array_equal(first, second), path.name


def test_to_read_a_configuration_needs_neither_arrow_nor_duckdb_nor_numba():
    code = """
import sys
from decimal import Decimal
from mtl.graphs import Source
Source.read({"type": "tables", "nodes": {"n": {"files": "n.csv", "features": {"x": "numeric"}}}})
print(sorted({"pyarrow", "duckdb", "numba", "torch", "fsspec"} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"


def test_progress_is_told(build, tmp_path):
    told = []
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "n.parquet")
    nodes = {"n": {"files": "n.parquet", "features": {"x": "numeric"}}}
    tree = {"type": "tables", "root": str(tmp_path), "nodes": nodes, "cache": str(tmp_path / "g")}
    open_graph(Source.read(tree), report=lambda *what: told.append(what))
    doing = ("reading", "statistics", "features")
    assert told[:3] == [(f"nodes n: {what}", 3, 3) for what in doing]


@pytest.mark.parametrize(
    ("name", "ages"),
    [
        ("n.csv", "id,age\n1,nan\n2,20.5\n3,5\n"),
        ("n.csv", "id,age\n1,nan\n2,20.5\n3,NA\n"),
        ("n.parquet", {"id": [1, 2, 3], "age": [float("nan"), 20.5, 5.0]}),
    ],
)
def test_to_sql_nan_is_missing(build, name, ages):
    store = build({name: ages}, nodes={"n": {"files": name, "id": "id", "where": "age >= 18"}})
    assert store.ids("n").of(np.arange(store.num_nodes("n"))) == [2]


def test_sql_takes_the_hour_of_utc_wherever_it_runs():
    code = """
import pyarrow as pa
from mtl.graphs._tables.sql import ROW, Expressions
sql = Expressions("", None, {"hour": "hour(to_timestamp(s))"})
print(sql.apply(pa.table({"s": [0], ROW: [0]}), {"hour"}, "", [1])["hour"].to_pylist())
"""
    zone = {**os.environ, "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=zone)
    assert out.stdout == "[0]\n"


@pytest.mark.parametrize(
    "sql", ["list_filter(t, lambda p: p > 1)", "list_filter(t, lambda x: x > p)"]
)
def test_a_variable_of_a_lambda_may_be_called_like_a_column(build, sql):
    options = {"columns": {"y": f"p + len({sql})"}, "labels": {"y": "class"}}
    table = {"p": [2.0], "t": [[1, 5]]}
    assert classes(build, table, "n.parquet", **options) == ("3",)


def test_an_empty_line_is_a_row_of_a_table_of_one_column(build):
    assert build({"n.csv": "x\n1\n\n3\n"}, nodes={"n": {"files": "n.csv"}}).num_nodes("n") == 3


def test_empty_lines_at_the_end_are_none(build):
    assert classes(build, "x,y\n1,a\n2,b\n\n\r\n") == ("a", "b")


def test_a_table_of_which_nothing_is_read_has_rows(build):
    files = {"a.csv": "u,w\n1,2\n", "b.csv": "v\n2\n3\n"}
    assert build(files, nodes={"n": {"files": "*.csv"}}).num_nodes("n") == 3


def test_decimals_are_ids_as_they_are(build):
    large = [Decimal(2**53 + 1), Decimal(2**53 + 3)]
    ids, back = pa.array(large, pa.decimal128(20, 0)), pa.array(large[::-1], pa.decimal128(20, 0))
    files = {"n.parquet": {"id": ids}, "e.parquet": {"src": ids, "dst": back}}
    for types in ({}, {"types": {"id": "integer"}}):
        nodes = {"n": {"files": "n.parquet", "id": "id", **types}}
        store = build(files, nodes=nodes, edges={"n__to__n": {"files": "e.parquet"}})
        assert store.ids("n").of(np.arange(2)) == [2**53 + 1, 2**53 + 3]
        assert store.csc(("n", "to", "n"))[1].tolist() == [1, 0]


def test_a_column_may_be_id_and_label(build):
    nodes = {"n": {"files": "n.csv", "id": "id", "labels": {"id": "class"}}}
    store = build({"n.csv": "id\n1.50\n2.50\n"}, nodes=nodes)
    assert store.ids("n").of(np.arange(2)) == list(store.label("n", "id").classes)


def test_batches_are_bounded_by_what_rows_take_once_decoded(tmp_path):
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["x" * 5000])
    for number, column in enumerate((words, words.dictionary_decode())):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{number}.parquet")
        (file,) = find(str(tmp_path), Nodes(files=(f"{number}.parquet",)), "n")
        batches = list(parquet.read(file, ["x"]))
        assert sum(map(len, batches)) == 20_000
        assert max(batch.nbytes for batch in batches) <= parquet.BATCH_BYTES


def test_the_code_that_draws_splits_is_part_of_the_fingerprint(tmp_path, monkeypatch):
    (tmp_path / "n.csv").write_text("y\n1\n")
    tree = {"type": "tables", "root": str(tmp_path), "nodes": {"n": {"files": "*.csv"}}}
    whole = Source.read(tree).fingerprint()
    monkeypatch.setattr(Tables, "parts", ())
    assert Source.read(tree).fingerprint() != whole
