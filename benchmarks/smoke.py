"""How long a smoke test takes: the whole job in one process, from the shell's point of view.

usage: python benchmarks/smoke.py [--quick] [--json FILE]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "job" / "train.py"), str(ROOT / "job/configs/smoke.yaml")]
BAR_SECONDS = 15.0


def seconds(folder: Path, run: str) -> float:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    start = time.perf_counter()
    subprocess.run(
        [*COMMAND, f"run.name={run}"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time python job/train.py job/configs/smoke.yaml.")
    parser.add_argument("--quick", action="store_true", help="one warm run instead of three")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "smoke.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = ["first", *(f"warm {i}" for i in range(1 if args.quick else 3))]
        rows = [{"start": n, "seconds": seconds(Path(folder), n.replace(" ", ""))} for n in names]
    warm = sorted(row["seconds"] for row in rows[1:])[len(rows[1:]) // 2]
    table = Table("start", "seconds")
    for row in rows:
        table.add_row(row["start"], f"{row['seconds']:.1f}")
    Console().print(table)
    met = "met" if warm <= BAR_SECONDS else "missed"
    bars = {"median warm seconds": [round(warm, 1), BAR_SECONDS, met]}
    args.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=1) + "\n")


if __name__ == "__main__":
    main()
