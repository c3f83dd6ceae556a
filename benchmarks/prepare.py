"""Tables to a graph that trains, against pandas and PyG by hand: seconds and peak memory.

usage: python benchmarks/prepare.py [--quick] [--json FILE] [--stretch]
"""

import json
import subprocess
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import median

from _machine import version
from _processes import ROOT, Ranks, peak_bytes, scratch
from _report import Report, run
from _tables import section, tables

OURS, BY_HAND, SORTED = "job/prepare.py", "pandas + PyG", "pandas + PyG, sorted for a loader"
MEMORY_BAR = 0.5
STRETCH_EDGES, STRETCH_GIB = 100_000_000, 24.0
POLL_SECONDS = 0.02
"""How often the peak is read: what is used later than that before the end is not seen."""

Command = Callable[[Path, Path], list[str]]


def measure(args: Namespace) -> Report:
    num_nodes, num_edges, rounds = (1_000_000, 20_000_000, 3)
    if args.quick:
        num_nodes, num_edges, rounds = (10_000, 200_000, 1)
    folder = tables(num_nodes, num_edges)
    commands: dict[str, Command] = {OURS: _ours, BY_HAND: _by_hand, SORTED: _sorted}
    if version("pandas") == "not installed":
        commands = {OURS: _ours}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(_convert(command, folder))

    report = Report()
    seconds = {name: median(s for s, _ in runs) for name, runs in found.items()}
    peak = {name: median(b for _, b in runs) for name, runs in found.items()}
    for name in commands:
        report.rows.append(_row(name, num_edges, seconds[name], peak[name]))
    if SORTED in commands:
        report.at_most(f"seconds, of those of {SORTED}", seconds[OURS] / seconds[SORTED], 1.0)
        report.at_most(f"peak memory, of that of {SORTED}", peak[OURS] / peak[SORTED], MEMORY_BAR)
    else:
        report.notes.append("pandas: not installed")
    if args.stretch:
        some, most = _convert(_ours, tables(num_nodes, STRETCH_EDGES))
        report.rows.append(_row(OURS, STRETCH_EDGES, some, most))
        report.at_most("peak GiB of 100 M edges", most / 2**30, STRETCH_GIB)
    return report


def _row(name: str, num_edges: int, seconds: float, peak: float) -> dict[str, object]:
    speed = num_edges / seconds / 1e6
    return {
        "how": name,
        "M edges": num_edges / 1e6,
        "seconds": seconds,
        "M edges/s": speed,
        "peak MiB": peak / 2**20,
    }


def _convert(command: Command, folder: Path) -> tuple[float, int]:
    """Convert once; return the seconds from start to end, and the largest resident set."""
    with scratch() as out:
        argv, peak = command(folder, out), 0
        subprocess.run(["sync"], check=True)  # the writes of the one before are not ours
        start = time.perf_counter()
        with Ranks(argv, out) as ranks:
            while ranks.alive():
                peak = max(peak, peak_bytes(ranks.processes[0]))
                time.sleep(POLL_SECONDS)
        return time.perf_counter() - start, peak


def _ours(folder: Path, out: Path) -> list[str]:
    config = out / "config.yaml"
    config.write_text(json.dumps({"graph": section(folder)}))  # JSON is YAML
    return [str(ROOT / "job" / "prepare.py"), str(config), str(out / "graph")]


def _by_hand(folder: Path, out: Path) -> list[str]:
    return [str(ROOT / "benchmarks" / "_pandas_graph.py"), str(folder), str(out / "graph.pt")]


def _sorted(folder: Path, out: Path) -> list[str]:
    return [*_by_hand(folder, out), "sorted"]


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--stretch", action="store_true", help="also 100 M edges, ours alone")


if __name__ == "__main__":
    run(measure, __doc__, _options)
