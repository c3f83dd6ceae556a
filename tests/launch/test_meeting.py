"""Launchers of several machines meet, and meet again after one of them was lost."""

import signal
import socket
import time

import pytest

from launch import meeting
from launch.meeting import Meeting

ENDS_WITH_LAUNCHER = "from job.orphans import end_with_launcher\nend_with_launcher()\n"


@pytest.fixture
def machines(supervise, monkeypatch):
    """Start launchers that meet, as machines of one job do."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--nproc", "1", "--nnodes", "2", "--max-restarts", "2", "--local-addr", "127.0.0.1"]

    def machine(script: str, node: int, *more: str):
        where = ["--rdzv-endpoint", place, "--node-rank", str(node)]
        return supervise(script, *options, *where, *more)

    return machine


@pytest.mark.parametrize("code", [0, 76])
def test_machines_meet_where_torchruns_variables_say(supervise, monkeypatch, code):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"NNODES": 2, "NPROC_PER_NODE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = []
    for rank in (0, 1):
        for name, value in {**place, "NODE_RANK": rank}.items():
            monkeypatch.setenv(f"PET_{name}", str(value))
        script = f"import os, sys; print(os.environ['WORLD_SIZE']); sys.exit({code})"
        nodes.append(supervise(script))
    endings = [node.end() for node in nodes]
    assert [stdout.split()[-1] for _, stdout, _ in endings] == ["2", "2"]
    assert [ended for ended, _, _ in endings] == [code, code]


FAIL_ONCE = """\
import os, signal, sys, time
from pathlib import Path
rank = os.environ["RANK"]
first = not Path(f"started.{rank}").exists()
Path(f"started.{rank}").touch()
"""


@pytest.mark.parametrize("lost", [0, 1])
def test_machines_meet_again_after_a_worker_of_one_was_killed(machines, lost):
    script = FAIL_ONCE + (
        f"if first and rank == '{lost}':\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if first:\n"
        "    time.sleep(2)  # the store outlives the start that node 1 lost\n"
        "    sys.exit(79)\n"
    )
    nodes = [machines(script, node) for node in (0, 1)]
    endings = [node.end() for node in nodes]
    assert [code for code, _, _ in endings] == [0, 0], endings


@pytest.mark.parametrize("lost", [0, 1])
def test_a_machine_that_is_lost_comes_back_and_meets_the_others(
    machines, wait_until, tmp_path, lost
):
    script = (
        ENDS_WITH_LAUNCHER
        + FAIL_ONCE
        + (
            f"if first and rank == '{lost}':\n"
            "    time.sleep(60)\n"
            "while not Path('lost').exists() and first:\n"
            "    time.sleep(0.05)\n"
            "sys.exit(79 * first)\n"
        )
    )
    nodes = [machines(script, node) for node in (0, 1)]
    wait_until(lambda: all((tmp_path / f"started.{rank}").exists() for rank in (0, 1)))
    nodes[lost].kill(signal.SIGKILL)
    assert nodes[lost].end()[0] == 137
    (tmp_path / "lost").touch()
    nodes[lost] = machines(script, lost)
    endings = [node.end() for node in nodes]
    assert [code for code, _, _ in endings] == [0, 0], endings


GIVES_UP = """\
if rank == '{lost}':
    while not Path('{sign}').exists():
        time.sleep(0.02)
    sys.exit(65)
"""
AT_WORK = "time.sleep(600)"
WAITS_FOR_THE_OTHER = "Path('left').touch(); sys.exit(79)"


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize(
    ("sign", "does"), [(".", AT_WORK), ("left", WAITS_FOR_THE_OTHER)], ids=["at work", "waiting"]
)
def test_a_machine_that_gives_up_ends_the_others_with_its_code(machines, lost, sign, does):
    script = FAIL_ONCE + GIVES_UP.format(lost=lost, sign=sign) + does
    nodes = [machines(script, node) for node in (0, 1)]
    endings = [node.end() for node in nodes]
    assert [code for code, _, _ in endings] == [65, 65], endings
    assert f"{socket.gethostname()} gave up with exit code 65 (data)" in endings[1 - lost][2]


def test_the_first_machine_counts_the_starts_of_all(machines, tmp_path):
    script = FAIL_ONCE + "open(f'starts.{rank}', 'a').write('x')\nsys.exit(79)"
    nodes = [machines(script, 0), machines(script, 1, "--max-restarts", "1")]
    assert [node.end()[0] for node in nodes] == [79, 79]
    assert [(tmp_path / f"starts.{rank}").read_text() for rank in (0, 1)] == ["xxx", "xxx"]


def test_a_machine_that_waits_for_the_first_one_hears_a_signal(machines, wait_until):
    alone = machines("", 1)
    wait_until(lambda: "waiting for the first machine" in alone.said)
    alone.kill(signal.SIGTERM)
    assert alone.end()[0] == 143


def test_a_port_that_is_taken_is_named(machines):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, said = machines("", 0, "--rdzv-endpoint", f"127.0.0.1:{port}").end()
    assert f"--rdzv-endpoint: port {port} cannot be opened" in said
    assert code == 1  # the command line makes 64 of it


def test_what_was_said_before_a_machine_came_is_not_for_it(wait_until, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(meeting, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(meeting, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(meeting.signal, "pthread_kill", lambda _, number: ended.append(number))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = free.getsockname()
    store = meeting._store(*place, is_host=True)
    lost = Meeting(place, is_first=False)
    lost.give_up(79)
    with Meeting(place, is_first=False) as new:
        time.sleep(0.3)
        assert (new.ending, ended) == (None, [])
        lost.give_up(65)
        wait_until(lambda: ended == [signal.SIGTERM])
        assert new.ending.code == 65
    del store
