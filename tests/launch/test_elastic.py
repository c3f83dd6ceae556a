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


@given(st.lists(st.sampled_from([70, 79, 137, 139, 143]), min_size=1))
def test_where_no_ending_was_decided_the_first_one_counts(codes):
    assert cause(codes) == codes[0]


def test_a_signal_is_written_as_shells_do():
    assert [as_exit_code(code) for code in (0, 75, -9, -15)] == [0, 75, 137, 143]


def test_the_code_of_a_failing_worker_comes_through(tmp_path, torch_process):
    worker = tmp_path / "fail.py"
    worker.write_text("import os, sys\nif os.environ['RANK'] == '1': sys.exit(int(sys.argv[1]))")
    starts = (
        "from launch.elastic import start\n"
        "for code in (0, 64, 70, 75, 76):\n"
        "    print(start(['--nproc-per-node=2', '--standalone', '--local-addr=127.0.0.1',"
        f" {str(worker)!r}, str(code)]))\n"
    )
    _, stdout, stderr = end(torch_process(starts))
    assert stdout.split() == ["0", "64", "70", "75", "76"], stderr
    assert "workers failed (rank 1: 75" in stderr
    assert "Traceback" not in stderr


def test_a_killed_worker_ends_the_launcher_with_137(supervise):
    process = supervise("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "--nproc", "1")
    assert end(process)[0] == 137


def test_a_killed_worker_is_started_again_within_the_budget(supervise, tmp_path):
    kill = "import signal; first and os.kill(os.getpid(), signal.SIGKILL)"
    process = supervise(FAIL_ONCE + kill, "--nproc", "1", "--max-restarts", "1")
    code, _, stderr = end(process)
    assert code == 0
    assert "exit code 137; restart 1 of 1 in 1 s" in stderr


def test_a_spent_budget_ends_with_the_last_code(supervise, tmp_path):
    log = "open('starts', 'a').write('x'); sys.exit(79)"
    process = supervise(f"import sys; {log}", "--nproc", "1", "--max-restarts", "1")
    assert end(process)[0] == 79
    assert (tmp_path / "starts").read_text() == "xx"


def test_a_resumable_stop_is_not_restarted(supervise, tmp_path):
    log = "open('starts', 'a').write('x'); sys.exit(75)"
    process = supervise(f"import sys; {log}", "--nproc", "1", "--max-restarts", "3")
    assert end(process)[0] == 75
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


def test_sigterm_ends_with_the_code_that_this_start_left(supervise, tmp_path):
    (tmp_path / "run").mkdir()
    process = supervise(SAVES_WHEN_STOPPED, "--nproc", "1")
    _wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 75


def test_sigterm_does_not_end_with_the_code_of_an_earlier_start(supervise, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "exit.json").write_text(json.dumps({"code": 75}))
    process = supervise("import time; open('ready', 'w'); time.sleep(60)", "--nproc", "1")
    _wait_for(tmp_path / "ready")
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143


def test_sigterm_between_two_starts_ends_the_launcher(supervise, tmp_path):
    script = "open('starts', 'a').write('x'); import sys; sys.exit(79)"
    process = supervise(script, "--nproc", "1", "--max-restarts", "9")
    while "restart 2 of 9 in 2 s" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143
    assert (tmp_path / "starts").read_text() == "xx"


@pytest.mark.parametrize("lost", [0, 1])
def test_machines_meet_again_after_a_worker_of_one_was_killed(supervise, monkeypatch, lost):
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
        "    time.sleep(5)  # the store outlives the start that node 1 lost\n"
        "    sys.exit(79)\n"
    )
    options = ["--nproc", "1", "--nnodes", "2", "--max-restarts", "2"]
    options += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    nodes = [supervise(script, *options, "--node-rank", rank) for rank in "01"]
    endings = [end(node) for node in nodes]
    assert [code for code, _, _ in endings] == [0, 0], endings


def end(process):
    """Wait for a process; return its exit code and what it printed."""
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def _wait_for(path: Path, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
