"""Who is missing where nothing moves, of what the processes last said of themselves."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from job.watchdog import Sign, report

ALIVE = st.lists(st.integers(0, 5), min_size=2, max_size=6)


def signs(counts: list[int], number: int) -> dict[int, Sign]:
    return {r: Sign(c, number, 100 + r, "node", f"stack of {r}\n") for r, c in enumerate(counts)}


@given(ALIVE, st.data())
def test_who_gives_no_more_signs_is_frozen_whatever_the_others_do(
    counts: list[int], data: st.DataObject
) -> None:
    missing = data.draw(st.sets(st.sampled_from(range(1, len(counts))), min_size=1))
    before, now = signs(counts, 1), signs(counts, 2)
    for rank in missing:
        now[rank] = before[rank]
    text, frozen = report(before, now, 0, len(counts), 5)
    assert frozen == sorted(missing)
    assert "no sign of life from" in text
    for rank in range(len(counts)):
        assert (f"stack of {rank}\n" in f"{text}\n") == (rank in missing)


@given(ALIVE)
def test_who_is_behind_is_named_and_nobody_is_called_frozen(counts: list[int]) -> None:
    text, frozen = report(signs(counts, 1), signs(counts, 2), 0, len(counts), 5)
    behind = [rank for rank, count in enumerate(counts) if count == min(counts)]
    assert frozen == []
    shown = [rank for rank in range(len(counts)) if f"process {rank} stands at:" in text]
    assert shown == behind
    assert ("equally far" in text) == (len(behind) == len(counts))


def test_who_never_gave_a_sign_is_named_too() -> None:
    before = {0: signs([3, 3], 1)[0]}
    text, frozen = report(before, {0: replace(before[0], number=2)}, 0, 2, 5)
    assert frozen == [1]
    assert "process 1 stands at:\n  it never gave a sign" in text


def test_the_process_that_reports_is_never_the_frozen_one() -> None:
    one = signs([1, 1], 1)
    assert report(one, one, 1, 2, 5)[1] == [0]
