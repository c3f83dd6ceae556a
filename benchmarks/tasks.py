"""What more tasks cost: 1, 2, 4, 8 node tasks on shared seeds.

Ours serves all tasks with one subgraph and one pass; the peer has a NeighborLoader and a pass for
each task, as other multi-task systems do.

usage: python benchmarks/tasks.py [--quick] [--json FILE]
"""

from argparse import Namespace
from statistics import median

from _jobs import Ours, Plain, products
from _report import Report, run
from _steps import seeds_per_second
from step import sampler_of_plain

BAR = 1.3
SYSTEMS = OURS, PEER = "ours", "a NeighborLoader and a pass each"


def measure(args: Namespace) -> Report:
    shape = products(quick=args.quick)
    numbers, rounds = ((1, 8), 1) if args.quick else ((1, 2, 4, 8), 3)
    steps = (2, 5) if args.quick else (6, 30)
    found: dict[str, dict[int, list[float]]] = {name: {n: [] for n in numbers} for name in SYSTEMS}
    for _ in range(rounds):
        for n in numbers:
            job = Ours(shape=shape, precision="auto", num_tasks=n)
            found[OURS][n].append(1 / seeds_per_second(job, 1, *steps))
    for n in numbers:  # once: 8 tasks take a minute a step
        found[PEER][n].append(1 / seeds_per_second(Plain(shape=shape, num_tasks=n), 1, 1, 2))

    report = Report()
    seconds = {name: {n: median(its[n]) for n in numbers} for name, its in found.items()}
    for name, its in seconds.items():
        report.rows += [
            {"system": name, "tasks": n, "ms/step": 1e3 * its[n], "x one task": its[n] / its[1]}
            for n in numbers
        ]
    report.at_most("time of 8 tasks against 1", seconds[OURS][8] / seconds[OURS][1], BAR)
    report.notes.append(f"the peer draws neighbours with {sampler_of_plain()}, once a task")
    return report


if __name__ == "__main__":
    run(measure, __doc__)
