"""Who started a process decides what a second signal means to it."""

import os
import signal
from types import SimpleNamespace

import pytest

from job.runtime import ECHO_SECONDS, Runtime


@pytest.fixture
def signalled(monkeypatch):
    """Send SIGTERM at some moments; return the exit code that the process left with, or None."""

    def signalled(*moments: float) -> int | None:
        runtime = Runtime.__new__(Runtime)
        runtime.stop_requested, runtime._asked_to_stop = False, 0.0
        codes: list[int] = []
        monkeypatch.setattr(os, "_exit", codes.append)
        for moment in moments:
            monkeypatch.setattr("job.runtime.time", SimpleNamespace(monotonic=lambda m=moment: m))
            runtime._on_signal(signal.SIGTERM, None)
        assert runtime.stop_requested
        return codes[0] if codes else None

    return signalled


def test_a_second_signal_ends_a_process_at_once(signalled, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert signalled(7.0) is None
    assert signalled(7.0, 7.0) == 143


def test_what_a_launcher_hands_on_beside_the_signal_itself_is_no_second_one(signalled, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert signalled(7.0, 7.0, 7.0 + ECHO_SECONDS) is None
    assert signalled(7.0, 7.1 + ECHO_SECONDS) == 143
