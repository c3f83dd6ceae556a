"""A process that has nothing to save ends with 75 wherever a signal finds it."""

import json
import time

import pytest

HEAD = """
import os, signal, sys, time
import job.signals
from job.runtime import run_command
job.signals.DEAF_SECONDS = job.signals.LOST_SECONDS = 0.3
def ask():
    os.kill(os.getpid(), signal.SIGTERM)
class Dropping:
    def __del__(self):
        ask()
        time.sleep(0)
"""
TAIL = "\nrun_command(main, '')\n"
WHERE = {
    "in the main program": """
def main(argv):
    ask()
    time.sleep(60)
""",
    "in a destructor": """
def main(argv):
    Dropping()
    time.sleep(60)
""",
    "in a destructor, again and again": """
class Gone:
    def __del__(self):
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            time.sleep(0)
def main(argv):
    import threading
    threading.Timer(0.2, ask).start()
    while True:
        Gone()
""",
    "while other processes are waited for": """
def main(argv):
    import threading
    from datetime import timedelta
    from torch.distributed import TCPStore
    threading.Timer(0.2, ask).start()
    TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=timedelta(seconds=60))
""",
    "and a library catches everything": """
def main(argv):
    for _ in range(2):
        try:
            ask()
            time.sleep(60)
        except:
            pass
    time.sleep(60)
""",
    "and a library catches everything, then hears nothing": """
from datetime import timedelta
def main(argv):
    from torch.distributed import TCPStore
    try:
        ask()
        time.sleep(60)
    except:
        pass
    TCPStore("127.0.0.1", 0, world_size=2, is_master=True, timeout=timedelta(seconds=60))
""",
    "and an error comes of it": """
def main(argv):
    Dropping()
    raise RuntimeError("another process has left")
""",
    "while it cleans up for longer than it may be deaf": """
def main(argv):
    try:
        ask()
    finally:
        time.sleep(0.6)
        print("cleaned up")
""",
}


@pytest.mark.parametrize("where", WHERE)
def test_a_signal_ends_a_command_with_75_and_says_so(where, command, tmp_path):
    (tmp_path / "program.py").write_text(HEAD + WHERE[where] + TAIL)
    begin = time.monotonic()
    ending = command(tmp_path, "program.py")()
    assert ending.code == 75, ending.stderr
    assert "stopped by SIGTERM" in ending.stderr
    assert "Traceback" not in ending.stderr
    assert time.monotonic() - begin < 30
    assert ("cleaned up" in ending.stdout) == ("cleans" in where)


def test_a_signal_to_a_child_that_was_forked_is_not_the_parents(command, tmp_path):
    program = """
def main(argv):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGTERM, lambda *_: None)
        ask()
        time.sleep(0.1)
        os._exit(0)
    os.waitpid(child, 0)
    time.sleep(0.6)
"""
    (tmp_path / "program.py").write_text(HEAD + program + TAIL)
    ending = command(tmp_path, "program.py")()
    assert ending.code == 0, ending.stderr


DONE = """
from pathlib import Path
from job.runtime import Runtime
class Leaving(Runtime):
    def _meet(self):
        ask()
        {meets}
def main(argv):
    with Leaving(run_dir=Path("run")):
        print("done")
"""


@pytest.mark.parametrize(
    ("meets", "code"), [("pass", 0), ('raise RuntimeError("another process has left")', 75)]
)
def test_a_signal_to_a_job_that_is_done_changes_nothing_unless_another_has_left_for_it(
    meets, code, command, tmp_path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "program.py").write_text(HEAD + DONE.format(meets=meets) + TAIL)
    ending = command(tmp_path, "program.py")()
    assert (ending.code, "Traceback" in ending.stderr) == (code, False), ending.stderr
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["code"] == code


def test_a_second_signal_to_a_job_that_is_done_ends_it_at_once_and_as_the_first_would(
    command, tmp_path
):
    (tmp_path / "run").mkdir()
    meets = "time.sleep(1.1); ask(); time.sleep(60)"
    (tmp_path / "program.py").write_text(HEAD + DONE.format(meets=meets) + TAIL)
    begin = time.monotonic()
    ending = command(tmp_path, "program.py")()
    assert ending.code == 75, ending.stderr
    assert time.monotonic() - begin < 30


def test_what_a_library_has_only_half_made_goes_in_silence(command, tmp_path):
    program = """
class Half:
    def __init__(self):
        ask()
        time.sleep(9)
        self.whole = True
    def __del__(self):
        assert self.whole
def main(argv):
    Half()
"""
    (tmp_path / "program.py").write_text(HEAD + program + TAIL)
    ending = command(tmp_path, "program.py")()
    assert (ending.code, "Traceback" in ending.stderr) == (75, False), ending.stderr
