"""How long a smoke test takes: the whole job in one process, from the shell's point of view.

usage: python benchmarks/smoke.py [--quick] [--json FILE]
"""

import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from statistics import median

from _processes import ROOT, scratch
from _report import Report, run

COMMAND = [sys.executable, str(ROOT / "job" / "train.py"), str(ROOT / "job/configs/smoke.yaml")]
BAR_SECONDS = 15.0


def measure(args: Namespace) -> Report:
    with scratch() as folder:
        names = ["first", *(f"warm {i}" for i in range(1 if args.quick else 3))]
        taken = {name: seconds(folder, name) for name in names}
    report = Report(rows=[{"start": name, "seconds": value} for name, value in taken.items()])
    report.at_most("median warm seconds", median([*taken.values()][1:]), BAR_SECONDS)
    return report


def seconds(folder: Path, name: str) -> float:
    """Run the job in a folder whose caches later runs share; return its seconds."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [*COMMAND, f"run.name={name.replace(' ', '')}"]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    run(measure, __doc__)
