"""metrics.jsonl on a disk that is full for a while."""

import json
import os
import resource
from pathlib import Path

import pytest

from job.record import Record, read_json
from mtl.errors import DataError

RECORD = {"step": 1, "time": 0.5, "train/it/loss": 0.25}


def in_a_child(action) -> int:
    """Run something that changes the limits of its process; return its exit code."""
    pid = os.fork()
    if not pid:
        try:
            action()
        except BaseException as error:
            os._exit(getattr(error, "errno", None) or 255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("room", [0, 1, 30, 70])
def test_what_a_full_disk_does_not_take_is_written_later_each_line_once(tmp_path: Path, room: int):
    path = tmp_path / "metrics.jsonl"

    def fill() -> None:
        record = Record(path, lambda text: os.write(descriptor, f"{text}\n".encode()))
        descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        for step in range(3):
            record.add({**RECORD, "step": step})
        assert os.read(descriptor, 1000).count(b"waits until it can be written") == 1
        assert path.stat().st_size == room
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        record.add({**RECORD, "step": 3})
        record.close()

    os.mkfifo(tmp_path / "pipe")
    assert in_a_child(fill) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{**RECORD, "step": step} for step in range(4)]


def test_lines_that_are_never_written_are_said_at_the_end(tmp_path: Path):
    def fill() -> None:
        record = Record(tmp_path / "metrics.jsonl", lambda text: None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, resource.RLIM_INFINITY))
        record.add(RECORD)
        record.close()

    assert in_a_child(fill) == 27  # EFBIG


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN"])
def test_numbers_that_no_run_writes_are_not_read(tmp_path: Path, number: str):
    (tmp_path / "diagnosis.json").write_text(f'{{"counts": [1, {number}]}}')
    with pytest.raises(DataError, match=f"diagnosis.json: .*expected finite.*found {number}"):
        read_json(tmp_path / "diagnosis.json")
