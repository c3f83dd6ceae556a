"""track: the files of a run directory: metrics.jsonl, and JSON that is replaced in one step."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from mtl.errors import DataError, UserError

GATE = "gate"
"""What the metrics begin with that say what each task hears of."""
PICTURE = "conflicts.png"
DIAGNOSIS = "diagnosis.json"
REPORT = "report.html"


class Record:
    """metrics.jsonl, line by line; what a full disk does not take is written when it does again.

    Args:
        path: of the file; lines are added to it.
        say: tells people that lines have to wait.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._file = path.open("ab", buffering=0)
        self._waiting, self._failure = b"", False

    def add(self, record: dict[str, Any]) -> None:
        """Write a line, after those that wait."""
        self._waiting += json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            self._write()
        except OSError as error:
            if not self._failure:
                self._say(f"warning: {self._path} waits until it can be written: {error}")
            self._failure = True
        else:
            self._failure = False

    def close(self) -> None:
        """Write what waits.

        Raises:
            OSError: it cannot be written.
        """
        with self._file:
            self._write()

    def _write(self) -> None:
        while self._waiting:  # the disk may take a part of a line
            self._waiting = self._waiting[self._file.write(self._waiting) :]


def cut(path: Path, step: int, *, evaluated: bool = True) -> dict[str, float | None]:
    """Cut off the records after `step` and a half-written last line; step 0 empties the file.

    Args:
        path: metrics.jsonl.
        step: the last that stays.
        evaluated: whether its evaluation stays, too.

    Returns:
        The latest value of each metric that stays.

    Raises:
        DataError: it is something else than a file.
    """
    latest: dict[str, float | None] = {}
    if not path.exists():
        return latest
    if not path.is_file():
        raise DataError(f"{path}: is no file")
    end = 0
    with path.open("rb") as file:
        for line in file:
            record = parse(line)
            if record is None or step == 0 or record["step"] > step:
                break
            if not evaluated and record["step"] == step and any(k[:4] == "val/" for k in record):
                break
            end += len(line)
            latest |= {k: v for k, v in record.items() if k not in ("step", "time")}
    os.truncate(path, end)
    return latest


def parse(line: bytes) -> dict[str, Any] | None:
    """Read a line of metrics.jsonl; None where it was not written to its end."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("step"), int) and "time" in record
    return record if whole else None


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Read a file of a run directory.

    Raises:
        DataError: it is no JSON any more, or lacks a key that is needed.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        text = path.read_text(encoding="utf-8")
        found = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    missing = [key for key in needed if not isinstance(found, dict) or key not in found]
    if not isinstance(found, dict) or missing:
        raise DataError(f"{path}: expected a mapping with {', '.join(needed)}; it was changed")
    return found


def _finite(text: str) -> float:
    """Read a number as all are that a run writes: JSON knows no others, and Python does."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"expected finite numbers, found {text}")
    return number


@contextmanager
def unfit(folder: Path) -> Iterator[None]:
    """Name the folder where what was read of it does not fit together.

    Raises:
        DataError: something was looked for that is not there, or is something else.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder}: its files do not fit together ({reason}): changed?") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    replace_file(path, json.dumps(value, indent=1, default=str) + "\n")


def replace_file(path: Path, text: str) -> None:
    """Replace a file in one step: a reader or a crash finds the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
