"""What the workers end with is what the launcher ends with."""

import json
import signal
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.elastic import as_exit_code, cause, worth_restarting

FAIL_ONCE = """\
import os, sys
from pathlib import Path
mark = Path(f"started.{os.environ['RANK']}")
first = not mark.exists()
mark.touch()
"""


@pytest.mark.parametrize("code", [70, 79, 137, 139, 143])
def test_signals_bugs_and_lost_peers_are_worth_a_restart(code):
    assert worth_restarting(code)


@pytest.mark.parametrize("code", [0, 1, 2, 64, 65, 73, 75, 76, 77, 78])
def test_what_would_end_the_same_way_is_not_restarted(code):
    assert not worth_restarting(code)


@given(st.sampled_from([64, 65, 73, 75, 76, 77, 78]), st.permutations([70, 79, 134, 137]))
def test_a_decided_ending_explains_the_endings_of_its_peers(code, others):
    assert cause([*others[:2], code, *others[2:]]) == code


@given(st.permutations([70, 79, 137]))
def test_a_killed_rank_explains_the_peers_that_lost_it(codes):
    assert cause(codes) == 137


def test_a_signal_is_written_as_shells_do():
    assert [as_exit_code(code) for code in (0, 75, -9, -15)] == [0, 75, 137, 143]


@pytest.mark.parametrize("code", [64, 70, 75, 76])
def test_the_code_of_a_failing_worker_comes_through(launch, code):
    process = launch(f"import os, sys; sys.exit({code} * int(os.environ['RANK']))", "--nproc", "2")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert f"rank 1: {code}" in stderr
    assert "Traceback" not in stderr


def test_a_killed_worker_ends_the_launcher_with_137(launch):
    process = launch("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "--nproc", "1")
    assert process.wait(timeout=60) == 137


def test_a_killed_worker_is_started_again_within_the_budget(launch, tmp_path):
    kill = "import signal; first and os.kill(os.getpid(), signal.SIGKILL)"
    process = launch(FAIL_ONCE + kill, "--nproc", "1", "--max-restarts", "1")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "exit code 137; restart 1 of 1 in 1 s" in stderr


def test_a_spent_budget_ends_with_the_last_code(launch, tmp_path):
    log = "open('starts', 'a').write('x'); sys.exit(79)"
    process = launch(f"import sys; {log}", "--nproc", "1", "--max-restarts", "1")
    assert process.wait(timeout=60) == 79
    assert (tmp_path / "starts").read_text() == "xx"


def test_a_resumable_stop_is_not_restarted(launch, tmp_path):
    log = "open('starts', 'a').write('x'); sys.exit(75)"
    process = launch(f"import sys; {log}", "--nproc", "1", "--max-restarts", "3")
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "starts").read_text() == "x"


SAVES_WHEN_STOPPED = """\
import json, signal, sys, time
from pathlib import Path
def stop(signum, frame):
    Path("run/exit.json").write_text(json.dumps({"code": 75}))
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
Path("ready").touch()
time.sleep(60)
"""


def test_sigterm_ends_with_the_code_that_this_start_left(launch, tmp_path):
    (tmp_path / "run").mkdir()
    process = launch(SAVES_WHEN_STOPPED, "--nproc", "1")
    _wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75


def test_sigterm_does_not_end_with_the_code_of_an_earlier_start(launch, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "exit.json").write_text(json.dumps({"code": 75}))
    process = launch("import time; open('ready', 'w'); time.sleep(60)", "--nproc", "1")
    _wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143


def test_sigterm_between_two_starts_ends_the_launcher(launch, tmp_path):
    script = "open('starts', 'a').write('x'); import sys; sys.exit(79)"
    process = launch(script, "--nproc", "1", "--max-restarts", "9")
    for line in process.stderr:
        if "restart 3 of 9 in 4 s" in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=3) == 143


@pytest.mark.parametrize("lost", [0, 1])
def test_machines_meet_again_after_a_worker_of_one_was_killed(launch, monkeypatch, lost):
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    monkeypatch.setenv("LOST", str(lost))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = FAIL_ONCE + (
        "import signal, time\n"
        "if first and os.environ['RANK'] == os.environ['LOST']:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if first:\n"
        "    time.sleep(0.5)\n"
        "    sys.exit(79)\n"
    )
    options = ["--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{port}", "--max-restarts", "2"]
    nodes = [
        launch(script, "--nproc", "1", *options, "--node-rank", rank, "--local-addr", "127.0.0.1")
        for rank in "01"
    ]
    endings = [(node.communicate(timeout=90)[1], node.returncode) for node in nodes]
    assert [code for _, code in endings] == [0, 0], endings


def _wait_for(path: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
