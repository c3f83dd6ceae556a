"""launch: what one start has left in the run directory: how it ended, and how far it came."""

import json
import os
from pathlib import Path
from typing import Any

TAIL_BYTES = 1 << 16


class Headway:
    """How far a run comes from now on.

    Args:
        run_dir: of the job, whatever of it is there yet.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._before = {name: self._version(name) for name in ("exit", "summary", "metrics")}

    def exit_code(self) -> int | None:
        """Return the exit code that the job has left since; None if it could not."""
        record = self._new("exit")
        return None if record is None else int(record["code"])

    def step(self) -> int | None:
        """Return the last step that the job has told of since; None before the first one."""
        # a start removes the summary first of all, and writes it last of all, if it still can
        record = self._new("summary") or self._new("metrics")
        return None if record is None else int(record["step"])

    def checkpoint(self) -> int:
        """Return the step of the newest checkpoint; -1 where there is none."""
        manifests = self._run_dir.glob("checkpoints/step_*/manifest.json")
        return max((int(path.parent.name.removeprefix("step_")) for path in manifests), default=-1)

    def _new(self, name: str) -> dict[str, Any] | None:
        """Return what a file says, where it was written since."""
        if self._version(name) == self._before[name]:
            return None
        try:
            path = self._path(name)
            text = _last_line(path) if name == "metrics" else path.read_text()
            record: dict[str, Any] = json.loads(text)
        except (OSError, ValueError):  # killed while it was writing it
            return None
        return record

    def _path(self, name: str) -> Path:
        return self._run_dir / f"{name}.{'jsonl' if name == 'metrics' else 'json'}"

    def _version(self, name: str) -> tuple[int, int, int] | None:
        """Tell one writing of a file from the next, whatever the clocks of a shared disk say."""
        try:
            stat = self._path(name).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().rpartition(b"\n")[0].rpartition(b"\n")[2].decode()
