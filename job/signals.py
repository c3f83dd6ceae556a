"""runtime: SIGTERM and SIGINT end a process that has nothing to save, whatever it is doing.

Python calls a handler between two of its own instructions, in the main thread, and what it raises
is heard there. But in a destructor, or in the callback of a weak reference, Python drops it: then
the signal comes again, a few times. And in a long call of a library (torch that waits for other
processes, say) the handler is not called at all: then a thread ends the process.
"""

import os
import signal
import sys
import threading
from functools import cache
from itertools import count
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)
AGAIN_SECONDS = 0.05
DEAF_SECONDS = 3.0
"""How long the main thread may take to call a handler."""
MAX_DROPS = 20
_heard, _drops = threading.Event(), count(1)
_asked: list[int] = []


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
    """Handle a signal.

    Raises:
        Interruption: always.
    """
    _asked.append(number)
    _heard.set()
    raise Interruption(number)


def asked_to_end() -> Interruption | None:
    """Return what was to end this process, if anything.

    Another error may have come of it: other processes were asked, too, and have left this one.
    """
    return Interruption(_asked[0]) if _asked else None


@cache
def _watched_pipe() -> int:
    """Return what Python writes the number of each signal to, as soon as it comes."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    sys.unraisablehook = _send_again
    threading.Thread(target=_watch, args=(read,), daemon=True, name="signals").start()
    return write


def _send_again(dropped: Any) -> None:
    """Send the signal again whose exception Python has dropped; tell of all other exceptions."""
    if not isinstance(dropped.exc_value, Interruption):
        sys.__unraisablehook__(dropped)
        return
    if next(_drops) == MAX_DROPS:
        _leave(dropped.exc_value)
    _heard.clear()
    threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), dropped.exc_value.number)).start()


def _watch(pipe: int) -> None:
    """End the process where the main thread does not hear a signal that is to end it."""
    while True:
        (number,) = os.read(pipe, 1)
        if number not in SIGNALS or _heard.wait(DEAF_SECONDS):
            continue
        if signal.getsignal(number) is interrupt:
            _leave(Interruption(number))


def _leave(interruption: Interruption) -> NoReturn:
    print(interruption, file=sys.stderr, flush=True)
    os._exit(interruption.exit_code)
