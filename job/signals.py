"""runtime: SIGTERM and SIGINT end a process that has nothing to save, whatever it is doing.

Python calls a handler between two of its own instructions, in the main thread, and what it raises
is heard there. But in a destructor, or in the callback of a weak reference, Python drops it, and a
library may catch everything: then the signal comes again, a few times. And in a long call of a
library (torch that waits for other processes, say) the handler is not called at all: then a thread
ends the process.
"""

import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
ECHO_SECONDS = 1.0
"""Slurm and systemd signal all processes of a job at once, and the launcher hands on its own."""
AGAIN_SECONDS = 0.05
DEAF_SECONDS = 3.0
"""How long the main thread may take to call a handler."""
LOST_SECONDS = 1.0
"""After which an exception that the main thread no longer handles has been caught by somebody."""
MAX_DROPS = 10


class Interruption(BaseException):
    """The job was asked to stop while it had nothing to save; no library catches this."""

    exit_code = 75

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on")
        self.number = number


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT raise `Interruption` from now on, or end the process."""
    for name in SIGNALS:
        signal.signal(name, interrupt)
    signal.set_wakeup_fd(_watched_pipe(), warn_on_full_buffer=False)


def interrupt(number: int, _frame: object = None) -> None:
    """Handle a signal; an echo of one that ends the process already is none.

    Raises:
        Interruption: the process is to end.
    """
    before, _calls.last = _calls.last, time.monotonic()
    if _calls.last - before > ECHO_SECONDS:
        _calls.number = number
        raise Interruption(number)


def only_remember() -> None:
    """Let a signal that would end this process change nothing any more: its work is done.

    What comes of it may still be an error, see `asked_to_end`. A second one ends it at once.
    """
    for name in SIGNALS:
        if signal.getsignal(name) is interrupt:
            signal.signal(name, _remember)


def _remember(number: int, _frame: object = None) -> None:
    before, _calls.last = _calls.last, time.monotonic()
    if _calls.number is not None and _calls.last - before > ECHO_SECONDS:
        _leave(Interruption(number))
    _calls.number = number


def asked_to_end() -> Interruption | None:
    """Return what was to end this process, if anything.

    Another error may have come of it: other processes were asked, too, and have left this one.
    """
    return None if _calls.number is None else Interruption(_calls.number)


@dataclass
class _Calls:
    """When the handler was called last, for which signal, and how many calls came to nothing."""

    last: float = -math.inf
    number: int | None = None
    drops: int = 0


@cache
def _watched_pipe() -> int:
    """Return what Python writes the number of each signal to, as soon as it comes."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    sys.unraisablehook = _tell
    threading.Thread(target=_watch, args=(read,), daemon=True, name="signals").start()
    return write


def _tell(dropped: Any) -> None:
    """Tell of an exception that Python has dropped.

    But not where this process ends: it may be the very one that ends it, which comes again, and
    objects go that a library has only half made.
    """
    if _calls.number is None:
        sys.__unraisablehook__(dropped)


def _again(number: int) -> None:
    _calls.drops += 1
    if _calls.drops == MAX_DROPS:
        _leave(Interruption(number))
    _calls.last = -math.inf
    os.kill(os.getpid(), number)


def _watch(pipe: int) -> None:
    """End the process where the main thread does not hear a signal that is to end it."""
    while True:
        (number,) = os.read(pipe, 1)
        begin = time.monotonic()
        while _calls.last < begin - ECHO_SECONDS and signal.getsignal(number) is interrupt:
            if time.monotonic() - begin > DEAF_SECONDS:
                _leave(Interruption(number))
            time.sleep(AGAIN_SECONDS)
        handled = time.monotonic()
        while signal.getsignal(number) is interrupt:
            if _is_handled():
                handled = time.monotonic()
            elif time.monotonic() - handled > LOST_SECONDS:
                _again(number)
                break
            time.sleep(AGAIN_SECONDS)


def _is_handled() -> bool:
    """Say whether the main thread is on its way out, however long it takes to clean up."""
    found: Any = sys._current_exceptions().get(threading.main_thread().ident or 0)
    error = found[1] if isinstance(found, tuple) else found  # a tuple until Python 3.12
    while error is not None and not isinstance(error, Interruption):
        error = error.__context__
    return error is not None


def _leave(interruption: Interruption) -> NoReturn:
    print(interruption, file=sys.stderr, flush=True)
    os._exit(interruption.exit_code)


_calls = _Calls()
