"""Outputs for all nodes of a graph with all neighbours: layer by layer, against PyG's inference().

SAGE of three layers and width 256 in fp32, one process; the same weights, the outputs compared.

usage: python benchmarks/predict.py [--quick] [--json FILE]
"""

import json
import statistics
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
from _graphs import PowerLaw
from _processes import POLL_SECONDS, ROOT, Ranks, scratch
from _report import Report, run

BAR, TOLERANCE = 2.0, 1e-4
BIG = PowerLaw(num_nodes=1_000_000, num_edges=10_000_000, num_labels=1)
BIG_QUICK = PowerLaw(num_nodes=10_000, num_edges=100_000, num_labels=1)
BATCH_SIZE, ROUNDS = 4096, 1
SYSTEMS = {"ours": "ours", "PyG, no worker": "pyg0", "PyG, 1 worker": "pyg1"}


def measure(args: Namespace) -> Report:
    graph = BIG_QUICK if args.quick else BIG
    folder, report = graph.folder(), Report()
    for path in folder.iterdir():
        path.read_bytes()
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in SYSTEMS}
    apart: dict[str, float] = {}
    with scratch() as out:
        for _ in range(ROUNDS):
            for name, system in SYSTEMS.items():
                found[name].append(_once(system, folder, out))
                apart[name] = _distance(out / "ours.npy", out / f"{system}.npy")
    seconds = {name: statistics.median(s for s, *_ in its) for name, its in found.items()}
    for name, its in found.items():
        report.rows.append(
            {
                "system": name,
                "seconds": seconds[name],
                "1000 nodes/s": graph.num_nodes / seconds[name] / 1e3,
                "own MiB": max(memory for _, memory, _ in its) / 2**20,
                "scratch MiB": max(disk for *_, disk in its) / 2**20,
                "largest difference": apart[name],
            }
        )
    report.at_most("largest difference, of the largest output", max(apart.values()), TOLERANCE)
    best = min(value for name, value in seconds.items() if name != "ours")
    if not args.quick:
        report.at_least("speed against PyG at its best", best / seconds["ours"], BAR)
    return report


def _once(system: str, graph: Path, out: Path) -> tuple[float, int, int]:
    """Return seconds, the most bytes of the process besides mapped files, and bytes on disk."""
    command = [str(ROOT / "benchmarks" / "_inference.py"), system, str(graph), str(BATCH_SIZE)]
    most = 0
    with Ranks([*command, str(out / system)], out) as ranks:
        while ranks.alive():
            most = max(most, ranks.memory())
            time.sleep(POLL_SECONDS)
    found = json.loads((out / f"{system}.json").read_text())
    return found["seconds"], most, found["bytes"]


def _distance(ours: Path, theirs: Path) -> float:
    mine, other = np.load(ours), np.load(theirs)
    return float(np.abs(mine - other).max() / np.abs(other).max())


if __name__ == "__main__":
    run(measure, __doc__)
