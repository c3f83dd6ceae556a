"""What people write for many tasks on many processes, against the exact gradient of the step.

Two processes, gloo, a tiny model in double precision. Nothing here ends with an error, and no loss
looks wrong: what is computed is another gradient, or each process's own.

usage: python benchmarks/silent_failures.py [--quick] [--json FILE]
"""

import json
from argparse import Namespace
from typing import Any

from _processes import ROOT, Ranks, scratch
from _report import Report, Row, run

EXACT = 1e-6


def measure(args: Namespace) -> Report:
    with scratch() as folder:
        out = folder / "found.json"
        command = [str(ROOT / "benchmarks" / "_failures.py"), str(out)]
        with Ranks(command, folder, 2) as ranks:
            ranks.wait()
        found = json.loads(out.read_text())
    report = Report(rows=[_row(**pattern) for pattern in found])
    for pattern in found:
        if pattern["pattern"].startswith("ours"):
            report.at_most(f"{pattern['pattern']}: % off", 100 * pattern["error"], 100 * EXACT)
    return report


def _row(
    pattern: str, error: float | None = None, apart: float = 0.0, refused: str | None = None
) -> Row:
    row: dict[str, Any] = {"pattern": pattern, "error %": None, "processes apart %": None}
    if error is None:
        return {**row, "verdict": f"refused: {refused}"}
    verdict = "exact"
    if error > EXACT:
        verdict = "each process its own" if apart > EXACT else "another gradient"
    return {**row, "error %": 100 * error, "processes apart %": 100 * apart, "verdict": verdict}


if __name__ == "__main__":
    run(measure, __doc__)
