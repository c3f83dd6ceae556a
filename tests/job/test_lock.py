"""One job owns a run directory."""

import fcntl
import os
import re
import socket
import threading

import pytest

from job.lock import RunInUseError, own, owner


def test_the_second_is_told_who_the_first_is_and_since_when(tmp_path):
    first = own(tmp_path)
    named = rf"process {os.getpid()} on {re.escape(socket.gethostname())} since 20\d\d-\d\d-\d\d "
    assert re.match(named, owner(tmp_path) or "")
    with pytest.raises(RunInUseError, match=named):
        own(tmp_path)
    os.close(first)
    assert owner(tmp_path) is None
    os.close(own(tmp_path))


def test_what_an_owner_that_is_gone_has_left_is_in_nobodys_way(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on another since 1970-01-01 00:00:00 +0000" * 9)
    held = own(tmp_path)
    assert (owner(tmp_path) or "").startswith(f"process {os.getpid()} ")
    assert "1970" not in (owner(tmp_path) or "")
    os.close(held)


def test_what_killed_processes_had_half_written_goes_and_what_is_being_written_stays(tmp_path):
    names = [".config.yaml.999999999", ".summary.json.4194304000", f".report.html.{os.getpid()}"]
    for name in [*names, "metrics.jsonl", "local.1"]:
        (tmp_path / name).touch()
    os.close(own(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {
        *(".lock", names[2], "metrics.jsonl", "local.1")
    }


def test_who_looks_at_the_lock_for_an_instant_is_in_nobodys_way(tmp_path):
    os.close(own(tmp_path))
    with (tmp_path / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.15, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        os.close(own(tmp_path))
