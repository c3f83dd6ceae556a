"""What workers print is told apart by rank, and kept."""

import os
import pty
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import launch.output
from launch.output import Output


@pytest.fixture
def printed(tmp_path, capfd):
    """Let workers print to stderr; return what comes through."""

    def printed(*parts: tuple[int, bytes]) -> str:
        output = Output(tmp_path / "logs")
        ranks = sorted({rank for rank, _ in parts})
        destination = output.reify({rank: {"ROLE_RANK": str(rank)} for rank in ranks})
        files = {rank: os.open(destination.stderrs[rank], os.O_WRONLY) for rank in ranks}
        for rank, part in parts:
            os.write(files[rank], part)
        output.finish()
        for file in files.values():
            os.close(file)
        return capfd.readouterr().err

    return printed


def logged(tmp_path: Path, rank: int) -> list[str]:
    """Return the lines of a worker's file, without their times."""
    text = (tmp_path / "logs" / f"rank_{rank}.log").read_text()
    return [line.split(" ", 1)[1] for line in text.splitlines()]


def test_lines_of_all_ranks_but_0_say_whose_they_are(printed):
    assert sorted(printed((0, b"zero\n"), (1, b"one\n")).splitlines()) == ["[rank 1] one", "zero"]


def test_a_prefix_of_the_jobs_own_is_not_doubled(printed):
    assert printed((1, b"[rank 1] one\ntwo\n")) == "[rank 1] one\n[rank 1] two\n"


def test_a_last_line_without_an_end_comes_through(printed):
    assert printed((1, b"terminate called")) == "[rank 1] terminate called\n"


def test_what_a_carriage_return_overwrote_is_left_out(printed):
    assert printed((1, b" 1 %\r 2 %\rdone\r\n")) == "[rank 1] done\n"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"bc", b"\n", b"d\ne"]))))
def test_lines_stay_whole_whatever_the_parts_that_they_come_in(printed, parts):
    lines = printed((0, b""), *parts).splitlines()
    for rank in range(3):
        written = b"".join(part for r, part in parts if r == rank).decode()
        prefix = f"[rank {rank}] " if rank else ""
        mine = [line for line in lines if (line.startswith("[rank ")) == bool(rank)]
        mine = [line.removeprefix(prefix) for line in mine if line.startswith(prefix)]
        assert mine == written.splitlines()


def test_each_worker_has_a_file_of_its_own(printed, tmp_path):
    printed((0, b"a\n"), (1, b"b\nc\n"))
    assert [logged(tmp_path, rank) for rank in (0, 1)] == [["a"], ["b", "c"]]


def test_another_start_adds_to_the_files(printed, tmp_path):
    printed((0, b"a\n"))
    printed((0, b"b\n"))
    assert logged(tmp_path, 0) == ["a", "b"]


def test_silent_workers_leave_no_folder(printed, tmp_path):
    printed((0, b""))
    assert not (tmp_path / "logs").exists()


def test_files_do_not_grow_without_end(printed, tmp_path, monkeypatch):
    monkeypatch.setattr("launch.worker_log.FILE_BYTES", 1000)
    for number in range(10):
        printed(*((0, b"%d.%d\n" % (number, line)) for line in range(50)))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert sizes.keys() == {"rank_0.log", "rank_0.log.1"}
    assert max(sizes.values()) < 1100
    text = (tmp_path / "logs" / "rank_0.log.1").read_text()
    assert "9.49" in text + (tmp_path / "logs" / "rank_0.log").read_text()


def test_a_folder_that_cannot_be_made_costs_the_files_alone(printed, tmp_path):
    (tmp_path / "logs").write_text("")
    assert printed((1, b"one\n")) == "[rank 1] one\n"


def test_the_last_words_are_kept_without_colours(tmp_path, capfd):
    output = Output(tmp_path)
    destination = output.reify({0: {"ROLE_RANK": "5"}})
    with open(destination.stderrs[0], "w") as stderr, open(destination.stdouts[0], "w") as stdout:
        stdout.write("to stdout\n")
        stderr.writelines(f"\x1b[31mline {number}\x1b[0m\n" for number in range(100))
    output.finish()
    assert list(output.workers[5].tail) == [f"line {number}" for number in range(80, 100)]


def test_a_closed_pipe_is_no_reason_to_end(tmp_path, monkeypatch):
    source, closed = os.pipe()
    os.close(source)
    monkeypatch.setattr(launch.output, "STDERR", closed)
    output = Output(tmp_path)
    with open(output.reify({0: {"ROLE_RANK": "0"}}).stderrs[0], "w") as stderr:
        stderr.write("a\n")
    output.finish()
    os.close(closed)
    assert list(output.workers[0].tail) == ["a"]


def test_rank_0_has_the_terminal_and_others_write_above_its_bar(tmp_path, monkeypatch):
    terminal, screen = pty.openpty()
    monkeypatch.setattr(launch.output, "STDERR", screen)
    output = Output(tmp_path / "logs")
    destination = output.reify({rank: {"ROLE_RANK": str(rank)} for rank in (0, 1)})
    with (
        open(destination.stderrs[0], "wb", buffering=0) as bar,
        open(destination.stderrs[1], "wb", buffering=0) as other,
    ):
        assert bar.isatty()
        assert not other.isatty()
        bar.write(b"\r\x1b[2K50 %")
        seen = os.read(terminal, 100)
        other.write(b"a warning\n")
        seen += os.read(terminal, 100)
        bar.write(b"\r\x1b[2K51 %\n")
        output.finish()
    seen += os.read(terminal, 100)
    os.close(terminal)
    os.close(screen)
    assert seen == b"\r\x1b[2K50 %\r\x1b[2K[rank 1] a warning\r\n\r\x1b[2K51 %\r\n"
    assert logged(tmp_path, 0) == ["51 %"]
