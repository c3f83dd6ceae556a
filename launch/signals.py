"""launch: the first signal lets the workers save, the second ends them at once."""

import os
import signal
from types import FrameType

import psutil
from torch.distributed.elastic.multiprocessing import SignalException

LEFT_TO_TORCH = "SIGQUIT"  # torchrun insists on handling one
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """What the launcher does at SIGTERM, SIGINT and SIGHUP, the end of a terminal."""

    def __init__(self) -> None:
        self._asked = False

    def install(self) -> None:
        """Handle the signals from now on, but for those that nohup had ignored."""
        for name in STOPS:
            if signal.getsignal(name) is not signal.SIG_IGN:
                signal.signal(name, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            kill_workers()
            os._exit(128 + number)
        self._asked = True
        # torchrun hands it on; the job knows nothing of terminals
        name = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        raise SignalException(f"stopped by signal {number}", sigval=name)


def kill_workers() -> None:
    """End all processes that this one has started, and theirs."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
