"""launch: what one worker has printed: the last lines in memory, all of it in a file."""

import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

TAIL_LINES = 20
FILE_BYTES = 8 << 20


class WorkerLog:
    """What one worker has printed.

    Args:
        rank: of the worker.
        folder: of its file.
    """

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank = rank
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        """The last lines on stderr."""
        self.spoke = 0.0
        """When the last of them came."""
        self._file = _File(folder / f"rank_{rank}.log")

    def note(self, line: bytes, *, is_error: bool) -> None:
        """Keep a line; errors are what comes to stderr."""
        if is_error:
            self.tail.append(line.decode(errors="replace"))
            self.spoke = time.time()
        self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _File:
    """The log of one worker, and the part before it: at most twice FILE_BYTES."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._broken = False

    def write(self, line: bytes) -> None:
        """Add a line; a full disk costs the log, not the training."""
        if self._broken:
            return
        now = datetime.now().isoformat(timespec="milliseconds").encode()
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            self._file.write(now + b" " + line + b"\n")
            if self._file.tell() > FILE_BYTES:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self.close()
        except OSError:
            self._broken = True

    def close(self) -> None:
        """Close the file; another line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None
