"""Communication is what a process waits for others, and to measure it changes no gradient."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STRAGGLER = Path(__file__).with_name("straggler.py")
LATE_SECONDS = 0.5


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of three processes found; the last one came late."""
    out = tmp_path_factory.mktemp("straggler")
    done = subprocess.run(
        [sys.executable, str(STRAGGLER), str(out), str(LATE_SECONDS)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(path.read_text()) for path in sorted(out.iterdir())]


def test_gradients_are_those_of_plain_ddp_to_the_last_bit(ranks: list[dict[str, Any]]) -> None:
    assert [rank["same"] for rank in ranks] == [True] * 3
    assert len({rank["sum"] for rank in ranks}) == 1
    assert ranks[0]["sum"] > 0


def test_gradients_meet_in_the_last_microbatch_of_a_step_alone(ranks: list[dict[str, Any]]) -> None:
    first, last = zip(*(rank["sums"] for rank in ranks), strict=True)
    assert (len(set(first)), len(set(last))) == (3, 1)


def test_the_others_wait_for_the_one_that_is_late(ranks: list[dict[str, Any]]) -> None:
    *others, late = ranks
    for rank in others:
        assert rank["communication"] > 0.8 * LATE_SECONDS
        assert rank["communication"] > rank["backward"]
    assert late["backward"] > LATE_SECONDS


def test_a_single_bit_that_differs_between_processes_is_found_by_all_of_them(
    ranks: list[dict[str, Any]],
) -> None:
    drifts = [rank["drift"] for rank in ranks]
    assert [(drift["before"], drift["between"]) for drift in drifts] == [("", "")] * 3
    (text,) = {drift["after"] for drift in drifts}
    assert "step 200: process 2 no longer holds the weights of process 0: 1 of 4 differ" in text
    assert "the first is 2.bias" in text
