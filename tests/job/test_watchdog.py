"""Who is missing where nothing moves, of what the processes last said of themselves."""

import os
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.watchdog import TIMED_OUT, Sign, Watchdog, report

ALIVE = st.lists(st.integers(0, 5), min_size=2, max_size=6)


def signs(counts: list[int], number: int) -> dict[int, Sign]:
    return {r: Sign(c, 0, number, 100 + r, "node", f"stack of {r}\n") for r, c in enumerate(counts)}


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


def test_a_silent_store_means_that_process_0_is_frozen_and_nobody_else() -> None:
    last = {0: signs([3], 1)[0]}
    text, frozen = report(last, last, 2, 3, 5)
    assert frozen == [0]
    assert "no sign of life from process 0 (pid 100 on node)" in text
    assert "process 0 stands at:\nstack of 0" in text


class Memory(dict[str, str]):
    """A store of one process."""

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key].encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


def test_who_waits_for_one_that_is_at_work_goes_on_waiting_and_then_no_longer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    ended = threading.Event()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    store = Memory()
    waiting, working = (Watchdog(store, rank, 2, 0.4) for rank in range(2))
    for watchdog in (waiting, working):
        watchdog.start(meet=lambda: None)
    waiting.exchange()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        working.beat()
        time.sleep(0.02)
    assert codes == []
    assert ended.wait(10)
    for watchdog in (waiting, working):
        watchdog.stop()
    assert set(codes) == {TIMED_OUT}
    assert "the others wait for process 1 " in capfd.readouterr().err


class Gone(Memory):
    """A store whose process has ended."""

    def set(self, key: str, value: str) -> None:
        raise RuntimeError("Broken pipe")


def test_a_store_that_is_gone_is_a_silent_one() -> None:
    """Pytest fails a test one of whose threads has failed."""
    watchdog = Watchdog(Gone(), 0, 2, 0.4)
    watchdog.start(meet=lambda: None)
    watchdog.stop()
