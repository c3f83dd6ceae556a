"""Process 1 of a container hands signals on and waits for orphans; elsewhere nothing is between."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launch.init import with_init

ROOT = Path(__file__).parents[2]
CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
PROGRAM = "import sys\nfrom launch.init import with_init\n{}\nsys.exit(with_init(command))"

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def container() -> Start:
    """Start a command as process 1."""
    allowed = shutil.which("unshare") and not subprocess.run([*CONTAINER, "true"]).returncode
    if not allowed:
        pytest.skip("this machine does not let unshare make a container")
    return lambda command: subprocess.Popen(
        [*CONTAINER, sys.executable, "-c", PROGRAM.format(command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def code_of(process: "subprocess.Popen[str]") -> int:
    """Wait for the end of a container."""
    process.communicate(timeout=20)
    return process.returncode


def test_elsewhere_the_command_runs_in_this_very_process():
    assert with_init(lambda: 7) == 7


@pytest.mark.parametrize(
    ("ending", "code"), [("return 75", 75), ("os.kill(os.getpid(), 9)", 137), ("sys.exit(64)", 64)]
)
def test_process_1_ends_as_its_command(container, ending, code):
    assert code_of(container(f"import os\ndef command():\n  {ending}")) == code


def test_process_1_hands_signals_on_once(container):
    process = container("""\
import signal, time
told = []
def command():
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    print("ready", flush=True)
    while not told:
        time.sleep(0.02)
    time.sleep(0.3)
    return 70 + len(told)
""")
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    (first,) = psutil.Process(process.pid).children()
    first.send_signal(signal.SIGTERM)
    assert code_of(process) == 71


def test_a_signal_that_the_command_does_not_handle_ends_process_1(container):
    command = "import time\ndef command():\n  print('ready', flush=True)\n  time.sleep(15)"
    process = container(command)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    psutil.Process(process.pid).children()[0].send_signal(signal.SIGTERM)
    assert code_of(process) == 143


def test_process_1_leaves_no_zombie(container):
    process = container("""\
import os, time
def command():
    if not os.fork():
        if not os.fork():
            os._exit(0)
        time.sleep(0.2)
        os._exit(0)
    os.wait()
    time.sleep(0.3)
    states = [open(f"/proc/{n}/stat").read().split()[2] for n in os.listdir("/proc") if n.isdigit()]
    return states.count("Z")
""")
    assert code_of(process) == 0
