"""job/train.py that also writes down when each step was done: `steps.jsonl` in the current folder.

Its own record would do, but then each step had points to send, and few jobs record every step.
"""

import json
import os
import time
from typing import Any

from job.runtime import run_command
from job.track import Tracker
from job.train import USAGE, main

LOG = os.open("steps.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
STEP = Tracker.step


def step(self: Tracker, number: int, *rest: Any) -> None:
    """Write down the time of a step."""
    os.write(LOG, f"{json.dumps({'step': number, 'time': time.time()})}\n".encode())
    STEP(self, number, *rest)


if __name__ == "__main__":
    Tracker.step = step  # type: ignore[assignment, method-assign]
    run_command(main, USAGE)
