"""Of all endings, the one that explains the others is found, named and returned."""

import socket
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.ending import Failure, as_exit_code, describe, first, meaning, worth_restarting

DECIDED = [64, 65, 73, 76, 77, 78]


@pytest.mark.parametrize("code", [70, 79, 137, 139, 143])
def test_signals_bugs_and_lost_peers_are_worth_a_restart(code):
    assert worth_restarting(code)


@pytest.mark.parametrize("code", [0, 1, 2, 75, *DECIDED])
def test_what_would_end_the_same_way_is_not_restarted(code):
    assert not worth_restarting(code)


def failure(rank, code, seen=0, spoke=0.0, tail=()):
    return Failure(rank, 1000 + rank, code, seen, spoke, tail)


codes = st.sampled_from([1, 70, 75, 79, 137, 139, 143])
failures = st.builds(failure, st.integers(0, 9), codes, st.integers(0, 2), st.floats(0, 9))


@given(st.sampled_from(DECIDED), st.lists(failures, max_size=5), st.integers(0, 5))
def test_a_decided_ending_explains_the_endings_of_its_peers(code, others, place):
    decided = failure(99, code, seen=9, spoke=99.0)
    assert first([*others[:place], decided, *others[place:]]) is decided


some_failures = st.lists(failures, min_size=1, max_size=5, unique_by=lambda f: f.rank)


@given(some_failures, st.randoms())
def test_the_order_in_which_torchrun_names_them_does_not_matter(some, random):
    shuffled = random.sample(some, len(some))
    assert first(shuffled) == first(some)


@given(some_failures)
def test_a_worker_that_torchrun_stopped_is_no_cause_while_there_is_another(some):
    others = [f for f in some if f.code != 143]
    assert first(some).code != 143 or not any(f.seen <= first(some).seen for f in others)


STORIES = {
    "a bug; its peer lost it": [failure(1, 70, spoke=3.0), failure(0, 70, spoke=3.1)],
    "a bug; a peer that was still starting was told to stop": [
        failure(1, 70, spoke=3.0),
        failure(0, 75, spoke=3.1),
    ],
    "killed; its peers lost it": [failure(1, 137, spoke=1.0), failure(0, 79, spoke=3.1)],
    "a bug; a quiet peer did not end and was killed": [
        failure(1, 70, seen=10, spoke=9.0),
        failure(0, 137, seen=100, spoke=1.0),
    ],
    "told to stop by somebody; its peer lost it": [
        failure(1, 75, spoke=3.0),
        failure(0, 70, spoke=3.1),
    ],
}


@pytest.mark.parametrize("story", STORIES)
def test_the_first_failure_is_found_among_those_that_follow(story):
    assert {first(order).rank for order in permutations(STORIES[story])} == {1}


def test_the_first_failure_is_named_with_its_last_words():
    bug = failure(2, 70, spoke=1.0, tail=["Traceback", "KeyError: 'x'"])
    text = describe([failure(0, 79, spoke=2.0, tail=["lost a peer"]), bug, failure(1, 143)])
    assert text.splitlines() == [
        f"rank 2 failed first: exit code 70 (bug), pid 1002 on {socket.gethostname()}",
        "    Traceback",
        "    KeyError: 'x'",
        "then rank 0: 79, rank 1: 143",
    ]


def test_what_stands_there_already_is_not_said_twice():
    assert "KeyError" not in describe([failure(0, 70, tail=["KeyError"])])
    assert "wrong" not in describe([failure(0, 64, tail=["wrong"]), failure(1, 64)])


def test_a_signal_is_written_as_shells_do():
    assert [as_exit_code(code) for code in (0, 75, -9, -15)] == [0, 75, 137, 143]


def test_exit_codes_have_words():
    assert meaning(75) == "exit code 75 (stopped and resumable)"
    assert meaning(137) == "exit code 137 (SIGKILL)"
    assert meaning(255) == "exit code 255"
