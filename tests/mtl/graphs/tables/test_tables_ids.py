"""Ids are found whatever they are, and whatever their hashes do."""

import numpy as np
import pyarrow as pa
import pytest

from mtl.graphs._tables import hashing
from mtl.graphs._tables.ids import DenseIds, IntegerIds, TextIds, id_map

FAR = [10**12, -7, 3, 2**62]
WORDS = ["b", "a", "", "\u00fc", "ab"]


@pytest.mark.parametrize(
    ("kind", "ids", "others"),
    [
        (DenseIds, [5, 3, 9], [4, 2, 10, -(2**63)]),
        (DenseIds, [-5, 1, 2], [0, 3, 2**63 - 1]),
        (IntegerIds, FAR, [4, 10**12 + 1, -(2**63)]),
        (TextIds, WORDS, ["c", "ba", "abc"]),
    ],
)
def test_an_id_is_its_row_and_any_other_value_none(kind, ids, others):
    found = id_map(pa.array(ids))
    assert isinstance(found, kind)
    assert found.rows(pa.array(ids)).tolist() == list(range(len(ids)))
    assert found.rows(pa.array([*others, None])).tolist() == [-1] * (len(others) + 1)
    assert not found.again.any()


def test_different_ids_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(hashing, "hash_texts", lambda offsets, data, out: out.fill(7))
    monkeypatch.setattr(hashing, "hash_integers", lambda values, out: out.fill(7))
    for ids, others in ((FAR, [4]), (WORDS, ["c"])):
        found = id_map(pa.array(ids))
        assert found.rows(pa.array(ids)).tolist() == list(range(len(ids)))
        assert found.rows(pa.array(others)).tolist() == [-1]


def test_an_id_that_stands_before_is_marked_and_found_where_it_stands_first():
    for ids in ([5, 3, 5], [10**12, 3, 10**12], ["b", "a", "b"]):
        found = id_map(pa.array(ids))
        assert found.again.tolist() == [False, False, True]
        assert found.rows(pa.array(ids)).tolist() == [0, 1, 0]


def test_texts_are_integers_only_as_integers_are_written():
    found = id_map(pa.array([5, 3, 9]))
    assert found.rows(pa.array(["5", " 3 ", "09", "+9", "x", None])).tolist() == [
        0,
        1,
        -1,
        -1,
        -1,
        -1,
    ]


def test_numbers_of_rows_need_not_be_stored():
    assert id_map(pa.array([0, 1, 2])).stored() is None
    assert np.array_equal(id_map(pa.array([1, 2, 3])).stored(), [1, 2, 3])
