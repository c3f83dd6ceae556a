"""The user's ids come back as they were given, whatever they are and however they came."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.errors import DataError
from mtl.graphs.ids import Ids
from mtl.graphs.store import GraphStore
from mtl.graphs.writer import GraphWriter

INTS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=30)
STRINGS = st.lists(st.text(max_size=6), unique=True, max_size=30)


def ids_of(folder: Path, ids: Any) -> Ids:
    writer = GraphWriter(folder, name="ids")
    writer.add_nodes("user", len(ids), ids=ids)
    writer.finish()
    found = GraphStore(folder).ids("user")
    assert found is not None
    return found


@settings(max_examples=40, deadline=None)
@given(values=INTS | STRINGS, data=st.data())
def test_ids_of_rows_and_rows_of_ids_are_each_others_inverse(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], data: st.DataObject
) -> None:
    ids = ids_of(tmp_path_factory.mktemp("ids"), values)
    assert ids.of(np.arange(len(values))) == values
    rows = data.draw(st.lists(st.sampled_from(range(len(values))))) if values else []
    assert ids.of(np.array(rows, int)) == [values[row] for row in rows]
    assert ids.rows(ids.of(np.array(rows, int))).tolist() == rows


@pytest.mark.parametrize(
    "given_as",
    [
        np.array(["ann", "bo", "zoé"]),
        np.array(["ann", "bo", "zoé"], object),
        pa.array(["ann", "bo", "zoé"]),
        pa.array(["x", "ann", "bo", "zoé", "y"])[1:4],
        pa.chunked_array([["ann"], [], ["bo", "zoé"]]),
        pa.array(["ann", "bo", "zoé"], pa.large_string()),
        pa.array(["ann", "bo", "zoé"]).dictionary_encode(),
        pa.chunked_array([["ann"], ["bo", "zoé"]]).dictionary_encode(),
        pa.array(["ann", "bo", "zoé"], pa.string_view()),
    ],
    ids=lambda ids: f"{type(ids).__name__} {getattr(ids, 'type', '') or ids.dtype}",
)
def test_strings_of_numpy_and_arrow_are_the_same(tmp_path: Path, given_as: Any) -> None:
    ids = ids_of(tmp_path, given_as)
    assert ids.of(np.array([2, 0, 1])) == ["zoé", "ann", "bo"]


@pytest.mark.parametrize(
    "given_as",
    [
        np.array([7, -1, 2**40]),
        np.array([7, -1, 2**40], object),
        pa.array([9, 7, -1, 2**40])[1:],
        pa.chunked_array([[7], [-1, 2**40]]),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_numbers_of_numpy_and_arrow_are_the_same(tmp_path: Path, given_as: Any) -> None:
    assert ids_of(tmp_path, given_as).of(np.array([2, 1])) == [2**40, -1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", None, "b", None], "row 1: missing; allowed: an id of every node (and 1 more)"),
        (pa.chunked_array([["a"], [None]]), "row 1: missing; allowed: an id of every node"),
        (np.array([1, 2**63], np.uint64), "allowed: whole numbers or strings"),
        (["a", 1], "allowed: whole numbers or strings"),
        ([[1], [2]], "allowed: whole numbers or strings"),
        ([1.5, 2.0], "allowed: whole numbers or strings"),
    ],
)
def test_what_is_no_id_is_named(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        ids_of(tmp_path, values)
    assert str(caught.value).startswith("ids of 'user': ")
    assert message in str(caught.value)


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"], [1], [1, 2, 3]])
def test_one_id_too_few_or_too_many_is_refused(tmp_path: Path, ids: list[Any]) -> None:
    writer = GraphWriter(tmp_path, name="ids")
    writer.add_nodes("user", 2, ids=ids)
    with pytest.raises(DataError, match=r"nodes\.user\.ids\..*shape"):
        writer.finish()


@pytest.mark.parametrize(
    ("ids", "asked", "message"),
    [
        (["ann", "bob"], ["bob", "eve", "mo"], "no 'user' has the id 'eve' (and 1 more)"),
        ([7, 8], [8, 9], "no 'user' has the id 9"),
        ([7, 8], ["8"], "ids of 'user' are whole numbers: "),
        (["7", "8"], [8], "ids of 'user' are strings: "),
        ([7, 8], [8, None], "no 'user' has the id None"),
    ],
)
def test_an_id_that_nobody_has_is_named(
    tmp_path: Path, ids: list[Any], asked: list[Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        ids_of(tmp_path, ids).rows(asked)
    assert message in str(caught.value)


def test_a_type_without_ids_has_none(small: Path) -> None:
    assert GraphStore(small).ids("user") is None
