"""track: the files of a run directory: metrics.jsonl, and JSON that is replaced in one step."""

import json
import os
from pathlib import Path
from typing import Any

GATE = "gate"
"""What the metrics begin with that say what each task hears of."""
PICTURE = "conflicts.png"
DIAGNOSIS = "diagnosis.json"
REPORT = "report.html"


def cut(path: Path, step: int, *, evaluated: bool = True) -> dict[str, float | None]:
    """Cut off the records after `step` and a half-written last line; step 0 empties the file.

    Args:
        path: metrics.jsonl.
        step: the last that stays.
        evaluated: whether its evaluation stays, too.

    Returns:
        The latest value of each metric that stays.
    """
    latest: dict[str, float | None] = {}
    if not path.exists():
        return latest
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
    return record if isinstance(record, dict) and {"step", "time"} <= record.keys() else None


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step: a reader sees the old one or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
    aside.replace(path)
