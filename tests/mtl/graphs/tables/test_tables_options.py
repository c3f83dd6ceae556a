"""What YAML says wrong is told by its path, all at once; what it says right is read back."""

# ruff: noqa: E501 a message stands in one line

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.graphs.tables import Tables
from mtl.plugin import dump, explain

NODES = {"n": {"files": "n.csv", "id": "id"}, "m": {"files": "n.csv"}}
TREE = {
    "type": "tables",
    "name": "shop",
    "nodes": {
        "customer": {
            "files": ["a/*.parquet", "b.parquet"],
            "id": "id",
            "where": "age > 3",
            "columns": {"double": "age * 2"},
            "features": {"age": "numeric", "double": {"kind": "numeric", "transform": "log"}, "tags": "bag"},
            "labels": {"churn": "class", "likes": {"kind": "multilabel", "classes": ["a", 2]}},
            "splits": {
                "past": {"kind": "temporal", "column": "t", "val_from": "2024-01-01", "test_from": "2024-02-01"},
                "few": {"kind": "per_class", "label": "churn", "train": 2, "val": 3},
                "told": {"column": "part"},
                "drawn": "random",
            },
        }
    },
    "edges": {"customer__knows__customer": {"files": "e.csv", "symmetrise": True, "self_loops": "add"}},
}  # fmt: skip


def read(tree):
    return TypeAdapter(Source).validate_json(json.dumps(tree))


def mistakes(nodes=None, edges=None, **more):
    """Return YAML path -> what is wrong there."""
    with pytest.raises(ValidationError) as caught:
        read({"type": "tables", "nodes": NODES | (nodes or {}), "edges": edges or {}, **more})
    return dict(line.split(": ", 1) for line in explain(caught.value, Source))


def node(**options):
    return {"n": {"files": "n.csv", **options}}


def edge(**options):
    return {"n__to__n": {"files": "e.csv", **options}}


def test_what_is_dumped_is_read_back():
    source = read(TREE)
    assert isinstance(source, Tables)
    assert (source.name, source.type) == ("shop", "tables")
    assert read(dump(source)) == source
    assert source.nodes["customer"].files == ("a/*.parquet", "b.parquet")
    assert dump(source)["nodes"]["customer"]["features"]["age"]["kind"] == "numeric"
    assert source.nodes["customer"].labels["likes"].classes == ("a", "2")


def test_every_mistake_is_told_by_its_whole_path():
    features = {"a": "numerc", "b": {"kind": "numeric", "transfrom": "log"}, "c": {}, "d": 3}
    labels = {"y": {"kind": "class", "classes": []}, "z": "regresion"}
    told = mistakes(
        node(features=features, labels=labels, split={"kind": "randm"}, fles="x", feature_dtype="int"),
        edge(src=3, self_loops="none", reverse=7, weights="w"),
        name="a/b",
    )  # fmt: skip
    assert told == {
        "name": "string should match pattern '^\\w[\\w.-]*$', found 'a/b'",
        "nodes.n.features.a": "unknown kind 'numerc'; did you mean 'numeric'? (allowed: numeric, categorical, boolean, bag, vector, timestamp)",
        "nodes.n.features.b.transfrom": "unknown key; did you mean 'transform'? (allowed: column, kind, transform)",
        "nodes.n.features.c": "`kind` is missing (allowed: numeric, categorical, boolean, bag, vector, timestamp)",
        "nodes.n.features.d": "expected a mapping with a `kind` (allowed: numeric, categorical, boolean, bag, vector, timestamp), found 3",
        "nodes.n.labels.y.classes": "value should have at least 1 item after validation, not 0, found []",
        "nodes.n.labels.z": "unknown kind 'regresion'; did you mean 'regression'? (allowed: class, regression, multilabel)",
        "nodes.n.split": "unknown kind 'randm'; did you mean 'random'? (allowed: column, random, temporal, per_class)",
        "nodes.n.fles": told["nodes.n.fles"],
        "nodes.n.feature_dtype": "input should be 'float32', 'float16' or 'bfloat16', found 'int'",
        "edges.n__to__n.src": "input should be a valid string, found 3",
        "edges.n__to__n.self_loops": "input should be 'keep', 'drop' or 'add', found 'none'",
        "edges.n__to__n.reverse": "expected true, false or the name of a relation, found 7",
        "edges.n__to__n.weights": told["edges.n__to__n.weights"],
    }  # fmt: skip
    assert told["nodes.n.fles"].startswith("unknown key; did you mean 'files'? (allowed: files, ")
    assert told["edges.n__to__n.weights"].startswith("unknown key; did you mean 'weight'?")


TEMPORAL = {"kind": "temporal", "val_from": 1, "test_from": 2}
BETWEEN = [
    ({"a__b": {"files": "x"}}, {}, "nodes.a__b", "no name for a type: take letters"),
    (node(split="random", splits={"a": "random"}), {}, "nodes.n.splits", "not both"),
    (node(split={"kind": "random", "train": 0.9}), {}, "nodes.n.split", "more than 1"),
    (node(splits={"s": TEMPORAL}), {}, "nodes.n.splits.s", "needs a `column`"),
    (node(split={**TEMPORAL, "column": "t", "test_from": 0}), {}, "nodes.n.split", "is after"),
    (node(split={**TEMPORAL, "column": "t", "test_from": "2024-01-01"}), {}, "nodes.n.split", "one is a date"),
    (node(split={**TEMPORAL, "val_from": "soon"}), {}, "nodes.n.split.val_from", "expected a date such as"),
    (node(labels={"kinds": "class"}, split={"kind": "per_class", "label": "kind", "train": 1, "val": 1}), {}, "nodes.n.split", "no class label 'kind'; did you mean 'kinds'?"),
    (node(columns={"a": "b"}, types={"a": "text"}), {}, "nodes.n.types.a", "cast it there"),
    (node(header=["a", "a"]), {}, "nodes.n.header", "the same name"),
    (node(labels={"y": {"kind": "class", "classes": ["a", "a"]}}), {}, "nodes.n.labels.y.classes", "stands twice"),
    (node(labels={"y": {"kind": "multilabel", "classes": ["a"], "num_classes": 2}}), {}, "nodes.n.labels.y", "give one of"),
    (node(labels={"y": {"kind": "multilabel", "columns": ["a"], "column": "b"}}), {}, "nodes.n.labels.y", "not both"),
    ({}, edge(labels={"y": "multilabel"}), "edges.n__to__n.labels.y", "needs `num_classes`"),
    ({}, edge(split={"kind": "per_class", "label": "y", "train": 1, "val": 1}), "edges.n__to__n.split", "a rule for nodes"),
    ({}, {"n_to_n": {"files": "e"}}, "edges.n_to_n", "expected SOURCE__relation__DESTINATION"),
    ({}, {"n__to__nn": {"files": "e"}}, "edges.n__to__nn", "no node type 'nn'; did you mean 'n'? (there are: n, m)"),
    ({}, {"n__to__m": {"files": "e", "symmetrise": True}}, "edges.n__to__m.symmetrise", "different types, n and m"),
    ({}, {"n__to__m": {"files": "e", "self_loops": "drop"}}, "edges.n__to__m.self_loops", "different types"),
    ({}, edge(symmetrise=True, reverse=True), "edges.n__to__n.reverse", "would be itself"),
    ({}, edge(reverse="to"), "edges.n__to__n.reverse", "there is a second n__to__n"),
    ({}, edge(reverse="a b"), "edges.n__to__n.reverse", "take letters, digits"),
    ({}, edge(time="t", self_loops="add"), "edges.n__to__n.self_loops", "has no `time`"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "edges", "path", "wanted"), BETWEEN)
def test_options_that_do_not_go_together(nodes, edges, path, wanted):
    told = mistakes(nodes, edges)
    assert list(told) == [path]
    assert wanted in told[path]


def test_all_mistakes_of_names_of_files_columns_and_sql_are_told_at_once(build):
    files = {"n.csv": "id,age,Total\n1,2,3\n", "m.csv": "id\n1\n", "e.csv": "src,dst\n1,1\n"}
    options = {
        "features": {"agee": "numeric", "t": {"kind": "numeric", "column": "total"}},
        "columns": {"d": "ages * 2", "TOTAL": "1", "fine": "Total + age"},
        "where": "idd > 3",
    }
    with pytest.raises(ConfigError) as caught:
        build(
            files,
            nodes={"n": {"files": "n.csv", **options}, "m": {"files": ["m.cvs"]},
                   "o": {"files": "m.csv", "where": "id >"}, "p": {"files": "x/*.csv"}},
            edges={"n__to__n": {"files": "e.csv", "dst": "dest"}},
        )  # fmt: skip
    folder = str(caught.value).split("there is no /")[1].rpartition("/m.cvs")[0]
    told = [line.replace(f"/{folder}/", "") for line in str(caught.value).splitlines()]
    there = "(there are: id, age, Total, d, TOTAL, fine)"
    assert told == [
        f"graph.nodes.n.features.agee: n.csv has no column 'agee'; did you mean 'age'? {there}",
        f"graph.nodes.n.features.t: n.csv has no column 'total'; did you mean 'Total'? {there}",
        f"graph.nodes.n.columns.d: n.csv has no column 'ages'; did you mean 'age'? {there}",
        f"graph.nodes.n.where: n.csv has no column 'idd'; did you mean 'id'? {there}",
        "graph.nodes.n.columns.TOTAL: the files have a column of this name; choose another",
        "graph.nodes.m.files: 'm.cvs': there is no m.cvs; did you mean 'm.csv'?",
        "graph.nodes.o.where: syntax error at or near \")\", found 'id >'",
        "graph.nodes.p.files: 'x/*.csv': there is no x/*.csv",
        "graph.edges.n__to__n.dst: e.csv has no column 'dest'; did you mean 'dst'? (there are: src, dst)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("avg(age)", "expected SQL over the columns of one row, found 'avg(age)'"),
        ("row_number() over ()", "expected SQL over the columns of one row"),
        ("(select 1)", "expected SQL over the columns of one row"),
        ("random()", "random() is another value each time; give a constant"),
        ("age > now()", "now() is another value each time; give a constant"),
        ("1), (2", "expected one expression, found '1), (2'"),
        ("age; drop table rows", "syntax error at or near"),
        ("age + name", "Binder Error: No function matches"),
        ("epoch(age(name::timestamp))", "age() is another value each time; give a constant"),
        ("agee(id)", "Catalog Error: Scalar Function with name agee does not exist!"),
    ],
)
def test_sql_is_one_expression_over_one_row_that_is_the_same_each_time(build, sql, wanted):
    options = {"columns": {"y": sql}, "features": {"y": "numeric"}}
    with pytest.raises(ConfigError) as caught:
        build({"n.csv": "id,age,name\n1,2,a\n"}, nodes={"n": {"files": "n.csv", **options}})
    assert str(caught.value).startswith("graph.nodes.n.columns.y: ")
    assert wanted in str(caught.value)


def test_sql_reads_no_file(build, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    options = {"columns": {"y": f"read_text('{tmp_path}/secret.txt')"}, "labels": {"y": "class"}}
    with pytest.raises(ConfigError, match=r"graph\.nodes\.n\.columns\.y"):
        build({"n.csv": "id\n1\n"}, nodes={"n": {"files": "n.csv", **options}})
