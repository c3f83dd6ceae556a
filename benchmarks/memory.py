"""What a graph costs in memory when 1, 2 and 4 ranks of a machine train on it.

What all ranks have together besides mapped files, minus that of the same ranks on a tiny graph, and
the pages of the graph's files in memory, of which a machine has one copy.

usage: python benchmarks/memory.py [--quick] [--json FILE]
"""

import os
from argparse import Namespace
from pathlib import Path

from _graphs import PowerLaw
from _jobs import Job, Ours, Plain, Shape
from _limits import NoLimitError, memory_limit
from _processes import JobError, Ranks, cached_bytes
from _report import Report, run
from _steps import record_steps

BAR = 1.1
BIG = PowerLaw(num_nodes=1_100_000, num_edges=60_000_000, num_features=400, num_labels=1)
BIG_QUICK = PowerLaw(num_nodes=200_000, num_edges=1_000_000, num_features=100, num_labels=1)
NUM_STEPS = 100
LIMIT = 0.75
"""Of the graph's size, for the graph that is larger than the memory."""


def measure(args: Namespace) -> Report:
    big, num_steps = (BIG_QUICK, 3) if args.quick else (BIG, NUM_STEPS)
    tiny = PowerLaw(num_nodes=5_000, num_edges=50_000, num_features=big.num_features, num_labels=1)
    folders = [graph.folder() for graph in (big, tiny)]
    for path in folders[0].iterdir():
        path.read_bytes()  # as after a first start, which has checked it
    size = sum(path.stat().st_size for path in folders[0].iterdir())
    report = Report()
    report.notes.append(f"the graph folder has {size / 2**20:,.0f} MiB")
    parts: dict[tuple[str, int], int] = {}
    for name, ranks in _cases(quick=args.quick):
        whole, rest = (memory(_job(name, folder), ranks, num_steps) for folder in folders)
        mapped = cached_bytes(folders[0]) if name == "ours" else 0  # the peer has read its file
        part = parts[name, ranks] = whole - rest + mapped
        report.rows.append(
            {
                "system": name,
                "ranks": ranks,
                "own MiB": whole / 2**20,
                "on a tiny graph MiB": rest / 2**20,
                "mapped once MiB": mapped / 2**20,
                "graph MiB": part / 2**20,
                "x its folder": part / size,
            }
        )
    if args.quick:
        report.notes.append("not judged: so small a graph is lost in the noise of the allocators")
        return report
    ratio = parts["ours", 4] / parts["ours", 1]
    report.at_most("graph part of 4 ranks against 1", ratio, BAR)
    _larger_than_memory(folders[0], size, report)
    return report


def memory(job: Job, num_ranks: int, num_steps: int = NUM_STEPS) -> int:
    """Train, and return the most bytes of their own that the ranks had together, once it runs."""
    seen: list[int] = []

    def watch(ranks: Ranks) -> None:
        seen.append(ranks.memory())

    record_steps(job, num_steps, num_ranks=num_ranks, watch=watch)
    return max(seen)


def _cases(*, quick: bool) -> list[tuple[str, int]]:
    if quick:
        return [("ours", 2), ("plain PyG", 1)]
    return [(name, ranks) for name in ("ours", "plain PyG") for ranks in (1, 2, 4)]


def _job(name: str, graph: Path) -> Job:
    """Return a training with small batches, whose own memory is nearly that on a tiny graph."""
    shape = Shape(graph=graph, num_neighbors=(4, 4), batch_size=128, dim=64)
    return Ours(shape=shape, microbatches=4) if name == "ours" else Plain(shape=shape)


def _larger_than_memory(graph: Path, size: int, report: Report) -> None:
    """Train within less memory than the graph has, nothing of it being in the page cache."""
    limit, steps = int(LIMIT * size), 0
    for path in graph.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        with memory_limit(limit) as prefix:
            steps = len(record_steps(_job("ours", graph), NUM_STEPS, prefix=prefix))
    except NoLimitError as error:
        report.notes.append(f"a graph larger than the memory limit: skipped ({error})")
        return
    except JobError as error:
        report.notes.append(f"a graph larger than the memory limit: {str(error)[:300]}")
    name = f"steps on a graph of {size / 2**20:,.0f} MiB within {limit / 2**20:,.0f} MiB"
    report.at_least(name, steps, NUM_STEPS)


if __name__ == "__main__":
    run(measure, __doc__)
