"""What more tasks cost: 1, 2, 4, 8 node tasks on shared seeds, and 8 mixed ones.

Ours serves all tasks with one subgraph and one pass. The peer has a loader and a pass for each
task, as other multi-task systems do. Mixed are tasks on users, items, shops, purchases and links,
in steps of as many seeds as those of one task alone.

usage: python benchmarks/tasks.py [--quick] [--json FILE] [--rounds N] [--only nodes|mixed]
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from statistics import median

from _jobs import Job, Ours, Plain, node_tasks, products
from _mixed import Mixed
from _report import Report, run
from _steps import seeds_per_second
from step import sampler_of_plain

BAR, MIXED_BAR = 1.3, 1.5
OURS, PEER = "ours", "a NeighborLoader and a pass each"
MARKET = {"type": "marketplace", "num_users": 200_000, "num_items": 80_000, "num_shops": 8_000}
SMALL = {"type": "marketplace", "num_users": 2_000, "num_items": 800, "num_shops": 80}


def measure(args: Namespace) -> Report:
    report = Report()
    if args.only != "mixed":
        _nodes(report, args)
    if args.only != "nodes":
        _mixed(report, args)
    return report


def _nodes(report: Report, args: Namespace) -> None:
    """Add tasks that all read the same seeds."""
    shape, numbers = products(quick=args.quick), (1, 8) if args.quick else (1, 2, 4, 8)
    jobs: dict[object, Job] = {
        n: Ours(shape=shape, precision="auto", tasks=node_tasks(n)) for n in numbers
    }
    seconds = {OURS: _seconds(jobs, args)}
    seconds[PEER] = {  # once: 8 tasks take a minute a step
        n: 1 / seeds_per_second(Plain(shape=shape, num_tasks=n), 1, 1, 2) for n in numbers
    }
    for name, its in seconds.items():
        for n in numbers:
            report.rows.append(_row(name, n, shape.batch_size, its[n], its[1]))
    report.at_most("time of 8 tasks against 1", seconds[OURS][8] / seconds[OURS][1], BAR)
    report.notes.append(f"the peer draws neighbours with {sampler_of_plain()}, once a task")


def _mixed(report: Report, args: Namespace) -> None:
    """Add tasks on nodes, edges and links together, each alone, and each alone at its seeds."""
    case = Mixed(graph=MARKET)
    if args.quick:
        case = Mixed(
            graph=SMALL, batch_size=64, dim=32, num_neighbors=(3, 3), tasks=("churn", "buys")
        )
    size, seeds = case.batch_size, case.seeds()
    jobs: dict[object, Job] = {"mixed": case.together()}
    jobs |= {("alone", task): case.alone(task, size) for task in case.tasks}
    jobs |= {("at its seeds", task): case.alone(task, number) for task, number in seeds.items()}
    seconds = _seconds(jobs, args)
    plain = 1 / seeds_per_second(case.plain(), 1, 1, 3)
    alone = {task: seconds["alone", task] for task in case.tasks}
    one, middle = case.of_the_same_kinds(alone), median(alone.values())
    each = sum(seconds["at its seeds", task] for task in case.tasks)
    for task in case.tasks:
        report.rows.append(_row(f"{task} alone", 1, size, alone[task], one))
    number, total = len(case.tasks), sum(seeds.values())
    report.rows += [
        _row("one task alone, the median", 1, size, middle, one),
        _row("one task, at seeds of the same kinds", 1, size, one, one),
        _row("ours, mixed", number, size, seconds["mixed"], one),
        _row("a job for each task, at its seeds in a mixed step", number, total, each, one),
        _row("plain PyG, a loader and a pass each at these", number, total, plain, one),
    ]
    what = "time of mixed tasks against one at as many seeds of the same kinds"
    report.at_most(what, seconds["mixed"] / one, MIXED_BAR)
    report.at_most("time of mixed tasks against a job for each", seconds["mixed"] / each, 1.0)
    report.notes.append("mixed tasks: plain PyG's loaders draw with OUR sampler, in fp32")
    shares = ", ".join(f"{task} {number}" for task, number in seeds.items())
    report.notes.append(f"seeds of a mixed step that each task reads: {shares}")


def _seconds(jobs: Mapping[object, Job], args: Namespace) -> dict[object, float]:
    """Return the seconds a step of each job: the median over rounds in which they take turns."""
    steps = (2, 5) if args.quick else (5, 20)
    found: dict[object, list[float]] = {name: [] for name in jobs}
    for _ in range(1 if args.quick else args.rounds):
        for name, job in jobs.items():
            found[name].append(1 / seeds_per_second(job, 1, *steps))
    return {name: median(its) for name, its in found.items()}


def _row(system: str, tasks: int, seeds: int, seconds: float, one: float) -> dict[str, object]:
    return {
        "system": system,
        "tasks": tasks,
        "seeds/step": seeds,
        "ms/step": 1e3 * seconds,
        "x one task": seconds / one,
    }


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    parser.add_argument("--only", choices=("nodes", "mixed"), help="one half of the table")


if __name__ == "__main__":
    run(measure, __doc__, _options)
