"""launch: what the workers print: told apart by rank on the screen, in one file each on the disk.

One thread reads all of it. Rank 0 has the terminal, where there is one: its progress bar works as
if nobody stood between. Lines of other ranks are written above it, each with its rank in front.
"""

import fcntl
import os
import pty
import re
import selectors
import sys
import termios
import threading
import tty
from pathlib import Path

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs

from launch.worker_log import WorkerLog

STDOUT, STDERR = 1, 2
CHUNK_BYTES = 1 << 16  # all that a pipe holds
CLEAR_LINE = b"\r\x1b[2K"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]")


def say(message: str) -> None:
    """Tell people what the launcher does."""
    for line in message.splitlines():
        print(f"launch: {line}", file=sys.stderr, flush=True)


class Output(LogsSpecs):
    """The streams of all workers of one start.

    Args:
        folder: for the files, made when the first line comes.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._streams: list[_Stream] = []
        self._wake, self._waker = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()
        self.workers: dict[int, WorkerLog] = {}

    @property
    def root_log_dir(self) -> str:
        """Return the folder of the files."""
        return str(self._folder)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Make two streams for each worker that torchrun is about to start."""
        destination = LogsDest(error_files=dict.fromkeys(envs, os.devnull))
        for local_rank, environment in envs.items():
            rank = int(environment["ROLE_RANK"])  # all workers have the same role
            worker = self.workers[rank] = WorkerLog(rank, self._folder)
            destination.stdouts[local_rank] = self._open(worker, STDOUT)
            destination.stderrs[local_rank] = self._open(worker, STDERR)
        return destination

    def finish(self) -> None:
        """Read what the workers have left behind, and end."""
        os.close(self._waker)
        self._thread.join()
        for stream in self._streams:
            stream.close()
        for worker in self.workers.values():
            worker.close()
        self._selector.close()
        os.close(self._wake)

    def _open(self, worker: WorkerLog, target: int) -> str:
        stream = _Stream(worker, target)
        self._streams.append(stream)
        self._selector.register(stream.source, selectors.EVENT_READ, stream)
        return stream.path

    def _read(self) -> None:
        over = False
        while not over:
            for key, _ in self._selector.select():
                if key.data is None:
                    over = True
                else:
                    key.data.read()
        for stream in self._streams:
            stream.end()


class _Stream:
    """stdout or stderr of one worker, on its way to that of the launcher."""

    def __init__(self, worker: WorkerLog, target: int) -> None:
        self._worker, self._target = worker, target
        self._on_terminal = os.isatty(target)
        self._unchanged = self._on_terminal and worker.rank == 0
        self._rest = b""
        if self._unchanged:
            self.source, self._sink = pty.openpty()
            tty.setraw(self._sink)  # the real terminal does the rest
            size = fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._sink, termios.TIOCSWINSZ, size)
            self.path = os.ttyname(self._sink)
        else:
            self.source, self._sink = os.pipe()
            self.path = f"/dev/fd/{self._sink}"

    def read(self) -> None:
        """Pass on what is there."""
        data = os.read(self.source, CHUNK_BYTES)
        if self._unchanged:
            self._show(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > CHUNK_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """Pass on a last line that has no end."""
        if ESCAPES.sub(b"", self._rest):  # a bar's last word is that the cursor shall be seen
            self._line(self._rest)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.source)
        os.close(self._sink)

    def _line(self, line: bytes) -> None:
        line = line.rstrip(b"\r").rpartition(b"\r")[2]  # the rest was overwritten
        prefix = f"[rank {self._worker.rank}] ".encode() if self._worker.rank else b""
        line = line.removeprefix(prefix)  # some of the job's own have it
        if not self._unchanged:
            self._show((CLEAR_LINE if self._on_terminal else b"") + prefix + line + b"\n")
        self._worker.note(ESCAPES.sub(b"", line), is_error=self._target == STDERR)

    def _show(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._target, data) :]
            except OSError:  # a closed terminal or pipe is no reason for the workers to end
                return
