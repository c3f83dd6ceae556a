"""Diagnoses: the counts that a report is drawn from."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from job.diagnosis import diagnose, write, write_or_say
from job.diagnosis_classes import MAX_CLASSES, Classes
from job.diagnosis_counts import NUM_BINS, Reliability, fine_edges
from job.record import DIAGNOSIS
from mtl.graphs.cache import open_graph
from mtl.graphs.marketplace import Marketplace
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks

TASKS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "category": {"type": "node_classification", "node_type": "item", "label": "category"},
    "interests": {"type": "node_multilabel", "node_type": "user", "label": "interests"},
    "value": {"type": "node_regression", "node_type": "user", "label": "value"},
    "returned": {
        "type": "edge_classification",
        "edge_type": "user__buys__item",
        "label": "returned",
        "class_weights": "balanced",
    },
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item"},
    "words": {"type": "feature_reconstruction", "node_type": "item"},
}
NAMES = pytest.mark.parametrize("name", TASKS)


@cache
def tasks():
    store = open_graph(Marketplace(num_users=300, num_items=100, num_shops=20))
    return bind_tasks({name: Task.read(options) for name, options in TASKS.items()}, store)


def made_up(name, rng):
    """Return scores and targets of all test seeds of a task, of a model that guesses."""
    bound = tasks()[name]
    seeds = bound.seeds("test")
    guess = torch.from_numpy(rng.standard_normal((len(seeds), bound.num_outputs)))
    guess[:, 0] += 1  # an edge's own score, above those of pairs that are none
    return bound.scores(bound.statistics.prior + 2 * guess), bound.targets(seeds)


def facts_of(name, parts):
    diagnosis = diagnose({name: tasks()[name]})[name]
    for scores, target in parts:
        diagnosis.update(scores, target)
    return diagnosis.facts()


def facts(name, seed=0):
    scores, target = made_up(name, np.random.default_rng(seed))
    return facts_of(name, [(scores, target)]), scores.numpy(), target.numpy()


@NAMES
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_neither_order_nor_chunks_change_a_bit(name, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    scores, target = made_up(name, rng)
    order = torch.from_numpy(rng.permutation(len(target)))
    cuts = data.draw(st.lists(st.integers(0, len(target)), max_size=4))
    parts = np.split(order, sorted(cuts))
    chunks = [(scores[part], target[part]) for part in parts]
    assert facts_of(name, chunks) == facts_of(name, [(scores, target)])


@NAMES
def test_nothing_to_see_and_numbers_that_are_none_are_taken(name):
    scores, target = made_up(name, np.random.default_rng(0))
    counted = json.dumps(facts_of(name, [(torch.full_like(scores, torch.nan), target)]))
    assert "NaN" not in counted
    assert facts_of(name, [])["kind"] == facts_of(name, [(scores, target)])["kind"]


@pytest.mark.parametrize("name", ["churn", "category", "returned"])
def test_the_confusion_matrix_is_that_of_scikit_learn(name):
    found, scores, target = facts(name)
    classes = range(scores.shape[1])
    expected = confusion_matrix(target, scores.argmax(1), labels=list(classes))
    assert found["confusion"] == expected.tolist()


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=50))
def test_reliability_counts_as_numpy_does(examples):
    reliability = Reliability()
    said = np.array([p for p, _ in examples])
    true = np.array([hit for _, hit in examples], bool)
    reliability.update(torch.from_numpy(said), torch.from_numpy(true))
    found = reliability.facts()
    place = np.minimum(np.floor(said * NUM_BINS), NUM_BINS - 1)
    for i in range(NUM_BINS):
        assert found["num"][i] == (place == i).sum()
        assert found["true"][i] == true[place == i].sum()
        assert found["said"][i] == pytest.approx(said[place == i].sum(), abs=1e-7)


@pytest.mark.parametrize("name", ["churn", "returned", "interests", "buys"])
def test_areas_under_curves_of_counts_are_those_of_the_scores(name):
    found, scores, target = facts(name)
    if name == "interests":
        odds, known = found["odds"][0], target[:, 0] >= 0
        scores, target = scores[known, 0], target[known, 0]
    elif name == "buys":
        odds, scores = found["odds"], scores[:, :2].ravel()
        target = np.tile([1, 0], len(scores) // 2)
    else:
        odds, scores = found["odds"], scores[:, 1]
    middle = np.arange(len(odds[0]))
    of_counts = roc_auc_score(
        np.repeat([0, 1], [sum(odds[0]), sum(odds[1])]),
        np.concatenate([np.repeat(middle, odds[0]), np.repeat(middle, odds[1])]),
    )
    assert of_counts == pytest.approx(roc_auc_score(target, scores), abs=0.005)


def test_calls_of_a_column_give_its_f1():
    found, scores, target = facts("interests")
    for column, ((_, false), (missed, true)) in enumerate(found["calls"]):
        known = target[:, column] >= 0
        f1 = f1_score(target[known, column], scores[known, column] > 0.5)
        assert 2 * true / (2 * true + false + missed) == pytest.approx(f1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_each_example_is_counted_once(seed):
    number, _, target = facts("value", seed)
    assert np.sum(number["both"]) == np.sum(number["errors"]) == len(target)
    links, _, target = facts("buys", seed)
    assert [*np.sum(links["odds"], 1), np.sum(links["at"])] == [len(target)] * 3
    vectors, _, target = facts("words", seed)
    assert np.sum(vectors["cosines"]) == len(target)


def test_hits_can_be_read_off_the_ranks():
    scores, target = made_up("buys", np.random.default_rng(0))
    scores = scores.round()  # with ties
    found = facts_of("buys", [(scores, target)])
    edge, candidates = scores[:, :1], scores[:, 2:]
    rank = 1 + (candidates > edge).sum(1) + (candidates == edge).sum(1) / 2
    for k, hits in zip(found["ranks"], np.cumsum(found["at"]), strict=True):
        assert hits == (rank <= k).sum()


def test_numbers_stand_in_the_row_of_the_prediction_and_the_column_of_the_truth():
    low, high = facts("value")[0]["range"]
    found = facts_of("value", [(torch.tensor([low, high]), torch.tensor([high, high]))])
    rows, columns = np.nonzero(found["both"])
    last = len(found["both"]) - 1
    assert (rows.tolist(), columns.tolist()) == ([0, last], [last, last])
    assert np.flatnonzero(found["errors"])[0] < len(found["errors"]) // 2


def test_rare_classes_of_many_share_a_row():
    class Bound:
        class label:  # noqa: N801
            classes, num_classes = None, 300

        class statistics:  # noqa: N801
            prior, class_weight = torch.arange(300.0), None

    many = Classes(Bound)
    many.update(torch.eye(300), torch.arange(300))
    found = many.facts()
    assert [*found["classes"][:2], *found["classes"][-2:]] == ["201", "202", "299", "other"]
    assert np.diagonal(found["confusion"]).tolist() == [1] * (MAX_CLASSES - 1) + [201]


def test_bins_of_log_odds_rise_and_part_at_even_odds():
    edges = fine_edges()
    assert edges == sorted(edges)
    assert edges[len(edges) // 2] == pytest.approx(0, abs=1e-9)


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path):
    said = []
    (tmp_path / DIAGNOSIS).mkdir()
    write_or_say(tmp_path, {}, said.append)
    (warning,) = said
    assert warning.startswith("warning: ")
    assert DIAGNOSIS in warning


def test_the_file_is_small_and_read_back(tmp_path):
    made = diagnose(tasks())
    for name, diagnosis in made.items():
        diagnosis.update(*made_up(name, np.random.default_rng(0)))
    write(tmp_path, made)
    assert [path.name for path in tmp_path.iterdir()] == [DIAGNOSIS]
    assert (tmp_path / DIAGNOSIS).stat().st_size < 100_000
    read = json.loads((tmp_path / DIAGNOSIS).read_text())
    assert read == {name: diagnosis.facts() for name, diagnosis in made.items()}
