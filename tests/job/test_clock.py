"""The parts of the time add up to all of it, on a device that is late, too."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.clock import PARTS, WHOLE, Clock

INNER = [part for part in PARTS if part not in WHOLE]


class Hands:
    """Time that tests turn; the device is `late` seconds behind."""

    def __init__(self, late=0.0):
        self.now, self.late = 0.0, late

    def mark(self):
        return self.now

    def passed(self, mark):
        return mark <= self.now - self.late

    def seconds(self, start, end):
        assert self.passed(end), "read before the device was there"
        return end - start


def taken(clock):
    return {part: s for part, s in zip(PARTS, clock.take(), strict=True) if s}


SCRIPTS = st.recursive(
    st.lists(st.floats(0, 10), max_size=3),
    lambda inner: st.lists(st.tuples(st.sampled_from(PARTS), inner), max_size=4),
    max_leaves=12,
)


def play(script, clock, hands):
    """Turn the hands as a script of nested parts says."""
    for item in script:
        if isinstance(item, float):
            hands.now += item
        else:
            part, inner = item
            with clock(part):
                play(inner, clock, hands)


@given(st.lists(SCRIPTS, max_size=5), st.floats(0, 30))
def test_the_parts_add_up_to_all_the_time_however_late_the_device(scripts, late):
    hands = Hands(late)
    clock = Clock(hands)
    total = 0.0
    for script in scripts:
        play(script, clock, hands)
        total += sum(clock.take())
    end, hands.late = hands.now, 0.0
    total += sum(clock.take())
    assert math.isclose(total, end, rel_tol=1e-9, abs_tol=1e-9)


def test_the_innermost_part_counts():
    hands = Hands()
    clock = Clock(hands)
    play([1.0, ("backward", [2.0, ("communication", [4.0]), 8.0]), 16.0], clock, hands)
    assert taken(clock) == {"backward": 10.0, "communication": 4.0, "other": 17.0}


@pytest.mark.parametrize("whole", WHOLE)
def test_evaluation_and_checkpoint_count_whole(whole):
    hands = Hands()
    clock = Clock(hands)
    play([(whole, [1.0, ("communication", [2.0]), ("evaluation", [4.0])])], clock, hands)
    assert taken(clock) == {whole: 7.0}


def test_a_part_goes_on_when_it_is_read_in_the_middle():
    hands = Hands()
    clock = Clock(hands)
    with clock("forward"):
        hands.now = 1.0
        assert taken(clock) == {"forward": 1.0}
        hands.now = 3.0
    hands.now = 7.0
    assert taken(clock) == {"forward": 2.0, "other": 4.0}


def test_a_late_device_tells_what_it_has_done_so_far():
    hands = Hands(late=5.0)
    clock = Clock(hands)
    play([("forward", [2.0]), ("backward", [4.0])], clock, hands)
    assert taken(clock) == {}
    hands.now += 1.0
    assert taken(clock) == {"forward": 2.0}


def test_waiting_for_items_is_told_from_using_them():
    hands = Hands()
    clock = Clock(hands)

    def items():
        for item in "ab":
            hands.now += 1.0
            yield item
        hands.now += 1.0

    for _ in clock.each("data", items()):
        hands.now += 10.0
    assert taken(clock) == {"data": 3.0, "other": 20.0}


def test_an_error_ends_its_part():
    hands = Hands()
    clock = Clock(hands)
    with pytest.raises(ZeroDivisionError), clock("forward"):
        hands.now, _ = 1.0, 1 / 0
    hands.now = 2.0
    assert taken(clock) == {"other": 2.0}
