"""launch: process 1 of a container, where the image's own init is not in front."""

import os
import signal
from collections.abc import Callable

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def with_init(command: Callable[[], int]) -> int:
    """Run a command; as process 1, in a child, so that signals arrive and no zombie stays.

    Linux drops the signals that process 1 has no handler for, and gives it all orphans to wait for,
    which torchrun does not do.
    """
    if os.getpid() != 1:
        return command()
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if not child:
        os.setpgid(0, 0)  # or a terminal's Ctrl-C would arrive twice, which means: at once
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        return command()
    for name in FORWARDED:
        signal.signal(name, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
