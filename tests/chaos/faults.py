"""Make docs/faults.md of what the tests of faults wrote down.

usage: python tests/chaos/faults.py FILE > docs/faults.md
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEAD = """\
# What a run survives

Each line is a test that does this to real processes, or to the very code that writes the files;
`make soak` repeats all of them, more often than CI does. This page is made of their results by
`make faults`.

After each of them no process is left, no half-written file in the run directory and no lock.

| fault | what the test does | tried | bar | outcome |
|---|---|---:|---|---|
"""
TAIL = """
## Repeat one
"""


def page(records: Iterable[dict[str, Any]]) -> str:
    """Return the page; records of the same words become one line."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in records:
        key = record["fault"], record["done"], record["bar"]
        line = lines.setdefault(key, {"times": 0, "outcomes": {}, "tests": {}})
        line["times"] += record["times"]
        outcome = record["outcome"] if record["passed"] else f"**missed** in {record['test']}"
        line["outcomes"][outcome] = line["tests"][record["test"]] = None
    table = [
        f"| {fault} | {done} | {line['times']:,} | {bar} | {'; '.join(line['outcomes'])} |\n"
        for (fault, done, bar), line in sorted(lines.items())
    ]
    tests: dict[str, dict[str, None]] = {}
    for (fault, _, _), line in sorted(lines.items()):
        tests.setdefault(fault, {}).update(line["tests"])
    commands = [f"\n{f}:\n\n{shell(sorted(found))}" for f, found in tests.items()]
    return HEAD + "".join(table) + TAIL + "".join(commands)


def shell(tests: list[str]) -> str:
    """Return the commands that repeat tests."""
    return "```\n" + "".join(f"python -m pytest {test}\n" for test in tests) + "```\n"


if __name__ == "__main__":
    print(page(map(json.loads, Path(sys.argv[1]).read_text().splitlines())), end="")
