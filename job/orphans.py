"""runtime: workers end with a torchrun that is killed, or they would go on writing checkpoints."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Have Linux kill this process when the torchrun or launcher that started it is no more.

    SIGKILL: the next start finds the run directory free at once. A process that a shell started is
    left alone: shells end, and what runs in their background goes on.
    """
    if sys.platform == "linux" and has_launcher():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def has_launcher() -> bool:
    """Tell whether torchrun, or launch/local.py, has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ
