"""What the workers end with is what the launcher ends with; it starts again where that may help."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from launch.elastic import SAME_ENDINGS, pause_seconds

KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
COUNT = "open('starts', 'a').write('x')\n"


def starts(folder: Path) -> int:
    """Return how often a worker that does COUNT was started."""
    return len((folder / "starts").read_text())


@pytest.mark.parametrize("code", [64, 75, 76])
def test_the_code_of_a_failing_worker_comes_through_without_a_restart(supervise, tmp_path, code):
    fail = f"import os, sys\nif os.environ['RANK'] == '1': {COUNT.strip()}; sys.exit({code})"
    ended, _, stderr = supervise(fail, "--nproc", "2", "--max-restarts", "3").end()
    assert ended == code
    assert re.search(rf"^launch: rank 1 failed.*: exit code {code} \(", stderr, re.MULTILINE)
    assert "Traceback" not in stderr
    assert starts(tmp_path) == 1


def test_a_killed_worker_is_started_again_within_the_budget(supervise, tmp_path):
    once = f"from pathlib import Path\nif not Path('starts').exists():\n  {COUNT}  {KILLED}\n"
    code, _, stderr = supervise(once, "--nproc", "1", "--max-restarts", "1").end()
    assert code == 0
    assert "exit code 137; restart 1 of 1 in 0.1 s" in stderr


def test_a_spent_budget_ends_with_the_last_code(supervise, tmp_path):
    launcher = supervise(f"{COUNT}import sys; sys.exit(79)", "--nproc", "1", "--max-restarts", "1")
    assert launcher.end()[0] == 79
    assert starts(tmp_path) == 2


FAILS_AT_STEP = """\
import json, os, sys
from pathlib import Path
number = Path("starts").stat().st_size if Path("starts").exists() else 0
open("starts", "a").write("x")
def come_to(step, *, checkpoint=False):
    Path("run/checkpoints").mkdir(parents=True, exist_ok=True)
    Path("run/metrics.jsonl").open("a").write(json.dumps({"step": step}) + "\\n")
    if checkpoint:
        folder = Path(f"run/checkpoints/step_{step:08}")
        folder.mkdir()
        (folder / "manifest.json").touch()
"""


def test_starts_that_end_at_the_same_step_are_given_up_and_the_step_is_named(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(7); sys.exit(70)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "9").end()
    assert code == 70
    assert starts(tmp_path) == SAME_ENDINGS
    assert "3 starts in a row ended with exit code 70 (bug) after step 7" in stderr
    assert "python job/train.py run/config.yaml replay=8" in stderr


def test_starts_that_end_elsewhere_each_time_spend_the_budget(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(7 + number); sys.exit(70)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "2").end()
    assert (code, starts(tmp_path)) == (70, 3)
    assert "in a row" not in stderr


def test_a_newer_checkpoint_gives_the_whole_budget_again(supervise, tmp_path):
    script = FAILS_AT_STEP + "come_to(number, checkpoint=True); sys.exit(79 if number < 3 else 0)"
    code, _, stderr = supervise(script, "--nproc", "1", "--max-restarts", "1").end()
    assert (code, starts(tmp_path)) == (0, 4)
    assert stderr.count("restart 1 of 1 in 0.1 s") == 3


def test_each_pause_is_twice_as_long_up_to_a_minute():
    assert [pause_seconds(restart) for restart in (1, 2, 3, 7, 99)] == [1, 2, 4, 60, 60]


def test_the_first_failure_is_named_with_its_last_words_and_all_is_kept(supervise, tmp_path):
    script = """\
        import os, sys, time
        if os.environ["RANK"] == "1":
            sys.exit("the cause")
        time.sleep(0.02)
        sys.exit("a follower")
    """
    code, _, stderr = supervise(textwrap.dedent(script), "--nproc", "3").end()
    assert code == 1
    named = stderr[stderr.index("launch: ") :].splitlines()
    assert named[0].startswith("launch: rank 1 failed first: exit code 1, pid ")
    assert named[1] == "launch:     the cause"
    assert named[2].startswith("launch: then rank 0: ")
    assert "the cause" in (tmp_path / "run" / "logs" / "rank_1.log").read_text()


def test_lines_of_all_workers_arrive_in_their_streams(supervise):
    script = "import os, sys; r = os.environ['RANK']; print('out'); print('err', file=sys.stderr)"
    code, stdout, stderr = supervise(script, "--nproc", "2").end()
    assert code == 0
    assert sorted(stdout.splitlines()) == ["[rank 1] out", "out"]
    assert sorted(stderr.splitlines()) == ["[rank 1] err", "err"]


SAVES = """\
import json, signal, sys, time
from pathlib import Path
def stop(signum, frame):
    Path("run/exit.json").write_text(json.dumps({"code": 75}))
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
Path("ready").touch()
time.sleep(60)
"""
STUBBORN = """\
import os, signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: Path("told").touch())
Path("ready").write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""


@pytest.fixture
def ready(supervise, wait_until, tmp_path):
    """Start a launcher and wait until its worker is at work."""

    def ready(script: str, *argv: str):
        (tmp_path / "run").mkdir(exist_ok=True)
        launcher = supervise(script, "--nproc", "1", *argv)
        wait_until((tmp_path / "ready").exists)
        return launcher

    return ready


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_with_the_code_that_this_start_left(ready, number):
    launcher = ready(SAVES)
    launcher.kill(number)
    assert launcher.end()[0] == 75


def test_a_signal_does_not_end_with_the_code_of_an_earlier_start(ready, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "exit.json").write_text(json.dumps({"code": 75}))
    launcher = ready("import time; open('ready', 'w'); time.sleep(60)")
    launcher.kill(signal.SIGTERM)
    assert launcher.end()[0] == 143


def test_a_second_signal_ends_everything_at_once(ready, wait_until, tmp_path):
    launcher = ready(STUBBORN)
    launcher.kill(signal.SIGTERM)
    wait_until((tmp_path / "told").exists)
    launcher.kill(signal.SIGTERM)
    assert launcher.end()[0] == 143
    wait_until(lambda: gone(tmp_path / "ready"))


def test_what_nohup_started_outlives_its_terminal(ready, tmp_path):
    hup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    program = tmp_path / "supervise.py"
    program.write_text(hup + program.read_text())
    launcher = ready(SAVES)
    launcher.kill(signal.SIGHUP)
    launcher.kill(signal.SIGTERM)
    assert launcher.end()[0] == 75
    assert not (tmp_path / "told").exists()


def test_a_signal_between_two_starts_ends_the_launcher(
    supervise, wait_until, monkeypatch, tmp_path
):
    monkeypatch.setenv("LONGEST_PAUSE", "60")
    launcher = supervise(f"{COUNT}import sys; sys.exit(79)", "--nproc", "1", "--max-restarts", "9")
    wait_until(lambda: "restart 1 of 9 in 1 s" in launcher.said)
    launcher.kill(signal.SIGTERM)
    assert launcher.end()[0] == 143
    assert starts(tmp_path) == 1


ORPHAN = "from job.orphans import end_with_launcher\nend_with_launcher()\n" + STUBBORN


def test_workers_end_with_a_launcher_that_is_killed(ready, wait_until, tmp_path):
    launcher = ready(ORPHAN)
    launcher.kill(signal.SIGKILL)
    assert launcher.end()[0] == 137
    wait_until(lambda: gone(tmp_path / "ready"))


def test_what_a_shell_started_goes_on_without_the_shell(wait_until, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(ORPHAN)
    root = str(Path(__file__).parents[2])
    subprocess.run(
        ["sh", "-c", '"$0" worker.py & while ! [ -s ready ]; do sleep 0.02; done', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        check=True,
    )
    assert not gone(tmp_path / "ready")
    os.kill(int((tmp_path / "ready").read_text()), signal.SIGKILL)


def gone(file: Path) -> bool:
    """Return whether the process that wrote its id into a file has ended."""
    try:
        return psutil.Process(int(file.read_text())).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def machines(supervise, monkeypatch):
    """Start launchers that meet, as machines of one job do."""
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--nproc", "1", "--nnodes", "2", "--max-restarts", "2", "--local-addr", "127.0.0.1"]

    def machine(script: str, node: int):
        return supervise(script, *options, "--rdzv-endpoint", place, "--node-rank", str(node))

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
        ORPHAN.partition("import os")[0]
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
