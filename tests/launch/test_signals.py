"""The first signal lets the workers save, the second ends them; none is left without a launcher."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

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
    script = "open('starts', 'a').write('x'); import sys; sys.exit(79)"
    launcher = supervise(script, "--nproc", "1", "--max-restarts", "9")
    wait_until(lambda: "restart 1 of 9 in 1 s" in launcher.said)
    launcher.kill(signal.SIGTERM)
    assert launcher.end()[0] == 143
    assert (tmp_path / "starts").read_text() == "x"


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
    time.sleep(0.5)
    assert not gone(tmp_path / "ready")
    os.kill(int((tmp_path / "ready").read_text()), signal.SIGKILL)


def gone(file: Path) -> bool:
    """Return whether the process that wrote its id into a file has ended."""
    try:
        return psutil.Process(int(file.read_text())).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
