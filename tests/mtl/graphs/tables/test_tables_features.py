"""Features are what docs/data.md says; only training rows of the first split are learned from."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TRAIN = ["train", "train", "train", "val", "test", None]
SPLIT = {"split": {"column": "part"}}


def features(nodes, values, feature, part=TRAIN, **options):
    """Return the features that one column becomes, float64."""
    columns = {"x": values, "part": part[: len(values)]}
    store = nodes(columns, features={"x": feature}, **SPLIT, **options)
    return store.features("n").double().numpy()


NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=2, max_size=30)


@settings(max_examples=25)
@given(values=NUMBERS, data=st.data())
def test_numbers_are_standardised_with_the_training_rows_as_scikit_learn_does(nodes, values, data):
    part = data.draw(
        st.lists(
            st.sampled_from(["train", "test", None]), min_size=len(values), max_size=len(values)
        )
    )
    values[0], part[0] = 1.5, "train"
    found = features(nodes, values, "numeric", part)
    given_ = np.array(values, np.float64)[:, None]
    train = np.array([p == "train" for p in part])
    scaler = StandardScaler().fit(given_[train & ~np.isnan(given_[:, 0])])
    wanted = np.nan_to_num(scaler.transform(given_))
    assert np.allclose(found[:, :1], wanted, rtol=1e-4, atol=1e-4 * (1 + np.abs(wanted).max()))
    missing = np.isnan(given_)
    assert found.shape[1] == 1 + missing[train].any()
    if found.shape[1] == 2:
        assert np.array_equal(found[:, 1:], missing)


def test_rows_outside_training_change_no_feature_of_another_row(nodes):
    values = [1.0, 2.0, None, 7.0, 9.0, 4.0]
    for feature in ("numeric", {"kind": "numeric", "transform": "quantile"}, "categorical"):
        one = features(nodes, values, feature)
        other = features(nodes, [*values[:4], -1e9, 4.0], feature)
        assert np.array_equal(np.delete(one, 4, 0), np.delete(other, 4, 0))


def test_the_first_split_says_which_rows_train(nodes):
    columns = {
        "x": [0.0, 2.0, 100.0],
        "a": ["train", "train", "test"],
        "b": ["test", "test", "train"],
    }
    splits = {name: {"column": name} for name in ("b", "a")}
    one = nodes(columns, features={"x": "numeric"}, splits=splits)
    two = nodes(columns, features={"x": "numeric"}, splits=dict(reversed(splits.items())))
    assert one.features("n")[:, 0].tolist() == [-100, -98, 0]
    assert two.features("n")[:, 0].tolist() == [-1, 1, 99]


def test_without_a_split_all_rows_are_learned_from(nodes):
    assert nodes({"x": [1, 3]}, features={"x": "numeric"}).features("n").tolist() == [[-1], [1]]


def test_a_quantile_is_the_share_of_training_values_below(nodes):
    found = features(
        nodes, [10.0, 20.0, 40.0, -5.0, 20.0, 99.0], {"kind": "numeric", "transform": "quantile"}
    )
    assert found[:, 0] == pytest.approx([-2 / 3, 0, 2 / 3, -1, 0, 1])


def test_a_logarithm_keeps_the_sign_and_is_standardised(nodes):
    values = [0.0, np.e - 1, 1 - np.e, 5.0]
    found = features(nodes, values, {"kind": "numeric", "transform": "log"})
    deviation = np.sqrt(2 / 3)
    assert found[:, 0] == pytest.approx([0, 1 / deviation, -1 / deviation, np.log(6) / deviation])


def test_equal_numbers_become_0(nodes):
    assert features(nodes, [7.0, 7.0, 7.0], "numeric").tolist() == [[0], [0], [0]]


def test_one_hot_columns_are_those_of_scikit_learn(nodes):
    values = ["b", "a", "b", "new", "a", None]
    found = features(nodes, values, "categorical")
    encoder = OneHotEncoder(categories=[["b", "a"]], handle_unknown="ignore", sparse_output=False)
    assert np.array_equal(found, encoder.fit_transform(np.array(values, object)[:, None]))


def test_rare_values_share_a_column_with_those_never_seen(nodes):
    values = ["a", "a", "b", "new", "a", None]
    found = features(nodes, values, {"kind": "categorical", "max_categories": 1})
    assert found.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 0]]


def test_numbers_dates_and_truths_are_categories_too(nodes):
    for values in (
        [3.0, 4.0, 3.0],
        [3, 4, 3],
        [True, False, True],
        [dt.date(2024, 1, d) for d in (3, 4, 3)],
    ):
        assert features(nodes, values, "categorical").tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    "values", [[True, False, None], [1, 0, None], ["Yes", "n", ""], [1.0, 0.0, float("nan")]]
)
def test_truths_are_1_and_0_however_they_are_written(nodes, values):
    assert features(nodes, values, "boolean").tolist() == [[1, 0], [0, 0], [0, 1]]


def test_small_integers_of_a_bag_have_their_own_bucket_and_order_does_not_matter(nodes):
    values = [[0, 3, 3], [3, 0], [], [1], None, [2]]
    found = features(nodes, values, {"kind": "bag", "num_buckets": 4})
    assert found.tolist() == [
        [1, 0, 0, 1],
        [1, 0, 0, 1],
        [0] * 4,
        [0, 1, 0, 0],
        [0] * 4,
        [0, 0, 1, 0],
    ]


def test_words_and_large_integers_of_a_bag_are_spread_over_all_buckets(nodes):
    words = {"kind": "bag", "num_buckets": 16}
    for members in ([f"word {i}" for i in range(400)], [i * 1600 for i in range(1, 400)]):
        (found,) = features(nodes, [members], words)
        assert found.sum() == 16
        (few,) = features(nodes, [members[:2]], words)
        assert 1 <= few.sum() <= 2


def test_a_list_in_csv_becomes_the_same_bag_as_in_parquet(build):
    files = {
        "a.parquet": {"x": [["a", "b"], ["12", "99999"], None]},
        "b.csv": "x,y\n\"['b', 'a']\",1\n\"12, 99999\",1\n,1\n",
    }
    one, two = (
        build(files, nodes={"n": {"files": name, "features": {"x": "bag"}}}).features("n")
        for name in files
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.int8())])
def test_a_vector_is_as_it_is_and_a_missing_one_0(nodes, kind):
    vectors = pa.array([[1, 2], None, [3, 4]], kind)
    assert features(nodes, vectors, "vector").tolist() == [[1, 2, 0], [0, 0, 1], [3, 4, 0]]


def test_a_vector_may_be_of_fixed_length(nodes):
    vectors = pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))
    assert features(nodes, vectors, "vector").tolist() == [[1, 2], [3, 4]]


def test_a_vector_that_only_other_rows_lack_has_no_column_for_it(nodes):
    assert features(nodes, [[1.0], [2.0], [3.0], None], "vector").tolist() == [[1], [2], [3], [0]]


def test_a_time_is_standardised_and_turns_with_day_week_and_month(nodes):
    moments = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 3, 6), dt.datetime(2024, 7, 7, 12)]
    found = features(nodes, moments, "timestamp")
    seconds = np.array([m.replace(tzinfo=dt.UTC).timestamp() for m in moments])
    assert found[:, 0] == pytest.approx((seconds - seconds.mean()) / seconds.std(), abs=1e-5)
    turns = np.array([[0, 0, 0], [0.25, 2 / 7, 0], [0.5, 6 / 7, 0.5]]) * 2 * np.pi
    assert found[:, 1::2] == pytest.approx(np.sin(turns), abs=1e-6)
    assert found[:, 2::2] == pytest.approx(np.cos(turns), abs=1e-6)


def test_the_same_moment_is_the_same_however_it_is_written(nodes):
    moments = [dt.datetime(2024, 1, 1), dt.datetime(2024, 5, 3, 6, 7)]
    whole = [int(m.replace(tzinfo=dt.UTC).timestamp()) for m in moments]
    zone = pa.array([m.replace(tzinfo=dt.UTC) for m in moments], pa.timestamp("ns", "Asia/Tokyo"))
    first = features(nodes, moments, "timestamp")
    for values in ([m.isoformat() for m in moments], zone, [m.isoformat() + "Z" for m in moments]):
        assert np.array_equal(features(nodes, values, "timestamp"), first)
    assert np.array_equal(features(nodes, whole, "timestamp"), first)
    milliseconds = {"kind": "timestamp", "unit": "milliseconds"}
    assert np.array_equal(features(nodes, [w * 1000 for w in whole], milliseconds), first)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_features_are_rounded_to_the_nearest_number_of_their_dtype(nodes, dtype):
    ties = [1 + 2**-8, 1 + 3 * 2**-8]  # half way between two numbers of bfloat16
    values = [0.1, 1 / 3, -2e4 / 3, 1.0, 65280.0, 3e-5, *ties]
    raw = {"x": {"kind": "numeric", "transform": "none"}}
    found = nodes({"x": values}, features=raw, feature_dtype=dtype).features("n")
    assert torch.equal(found, torch.tensor(values)[:, None].to(getattr(torch, dtype)))


def test_features_stand_in_the_order_of_yaml(nodes):
    columns = {"b": [1.0], "a": [2.0]}
    none = {"kind": "numeric", "transform": "none"}
    store = nodes(columns, features={"b": none, "again": {**none, "column": "a"}, "a": none})
    assert store.features("n").tolist() == [[1, 2, 2]]


def test_nothing_learned_depends_on_how_rows_are_cut_into_files(build):
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(5, 3, 1000), "c": rng.integers(0, 30, 1000)})
    quantile = {"kind": "numeric", "transform": "quantile", "column": "x"}
    few = {"kind": "categorical", "max_categories": 9}
    section = {"features": {"x": "numeric", "q": quantile, "c": few}}
    whole = build({"n.parquet": table}, nodes={"n": {"files": "n.parquet", **section}})
    files = {f"n/{i:02}.parquet": table.slice(i * 70, 70) for i in range(15)}
    cut = build(files, nodes={"n": {"files": "n", **section}})
    assert torch.allclose(whole.features("n"), cut.features("n"), atol=1e-6)


def test_a_hash_never_changes(nodes):
    (found,) = features(nodes, [["graph", "12345678", "-3"]], {"kind": "bag", "num_buckets": 1000})
    assert np.flatnonzero(found).tolist() == [404, 533, 697]


def test_numbers_that_only_rounding_tells_apart_are_equal(nodes):
    assert np.abs(features(nodes, [0.1, 0.1, 0.1], "numeric")).max() < 1e-9


@pytest.mark.parametrize(
    "values",
    [
        [["zeta"], ["alpha", ""], ["alpha"], ["", None], []],
        pa.array([[9.5], [1.5, None], [1.5], [float("nan")], []], pa.list_(pa.float64())),
        pa.array([[99], [77, None], [77], [None], []], pa.list_(pa.int32())),
        ["[zeta]", "alpha,,", "alpha", "[,]", "[]"],
    ],
)
def test_a_missing_member_of_a_bag_sets_no_bucket(nodes, values):
    found = features(nodes, values, {"kind": "bag", "num_buckets": 8})
    assert found.sum(axis=1).tolist() == [1, 1, 1, 0, 0]
    assert np.array_equal(found[1], found[2])


def test_an_integer_of_a_bag_is_the_same_as_a_word(nodes):
    bag = {"kind": "bag", "num_buckets": 1000}
    for large in (1234567890123456789, -(2**63), 2**63 - 1):
        assert np.array_equal(features(nodes, [[large]], bag), features(nodes, [[str(large)]], bag))


def test_numbers_of_a_vector_may_be_aligned_with_spaces(nodes):
    spaces = {"kind": "vector", "separator": " "}
    assert features(nodes, ["[ 1. 20.]", "[30.  4.]"], spaces).tolist() == [[1, 20], [30, 4]]
