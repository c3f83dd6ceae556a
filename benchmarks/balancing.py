"""What it costs to balance tasks: a step under each method against `equal`, and what it sends.

2, 4, 8, 16 node tasks that read all seeds, in two processes and in one, each on one core; every
process computes one microbatch a step. Beside it TorchJD's plain use, in one process.

usage: python benchmarks/balancing.py [--quick] [--json FILE] [--rounds N] [--ranks N ...]
       [--tasks N ...]
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from statistics import median

from _balanced import Balanced, TorchJD
from _jobs import Job, Shape, node_tasks, products
from _machine import separate_cores
from _report import Report, run
from _turns import Turn, seconds, take_turns, times

EQUAL, AT_HEADS, AT_WEIGHTS = "equal", "upgrad", "upgrad, at: parameters"
PLAIN = "TorchJD alone: mtl_backward, UPGrad"
METHODS = {
    EQUAL: {"type": "equal", "conflicts_every": None},
    "uncertainty": {"type": "uncertainty", "conflicts_every": None},
    AT_HEADS: {"type": "upgrad"},
    "mgda": {"type": "mgda"},
    AT_WEIGHTS: {"type": "upgrad", "at": "parameters"},
}
THROUGH_ALL = (AT_WEIGHTS, PLAIN)
"""A backward pass through the whole model for each task: not with every number of tasks."""
BARS = {8: 1.1, 16: 1.15}


def measure(args: Namespace) -> Report:
    cores = separate_cores(2)
    if cores is None:
        return Report(rows=[{"ranks": None, "tasks": None, "balancing": "two cores are needed"}])
    report, shape = Report(), products(quick=args.quick)
    for num_ranks in args.ranks:
        for num_tasks in (8,) if args.quick else args.tasks:
            jobs = _jobs(shape, num_ranks, num_tasks, quick=args.quick)
            rounds = 1 if args.quick else args.rounds
            turns = take_turns(jobs, _num_steps, rounds, cores[:num_ranks])
            _add(report, num_ranks, num_tasks, turns)
    report.notes.append(
        "bytes: all-reduces of a step beside DDP's gradients, beyond those of equal"
    )
    return report


def _jobs(shape: Shape, num_ranks: int, num_tasks: int, *, quick: bool) -> dict[str, Job]:
    names = (EQUAL, AT_HEADS, AT_WEIGHTS) if num_ranks == 1 or quick else METHODS
    jobs: dict[str, Job] = {
        name: Balanced(
            shape=shape,
            tasks=node_tasks(num_tasks),
            microbatches=num_ranks,
            balancing=METHODS[name],
        )
        for name in names
    }
    if num_ranks == 1:
        jobs[PLAIN] = TorchJD(shape=shape, num_tasks=num_tasks)
    few = num_tasks in (2, 8)
    return {name: job for name, job in jobs.items() if few or name not in THROUGH_ALL}


def _num_steps(name: str) -> int:
    """Return the steps of a turn: a step through all takes several times as long."""
    return 2 if name in THROUGH_ALL else 8


def _add(report: Report, num_ranks: int, num_tasks: int, turns: dict[str, list[Turn]]) -> None:
    """Add the rows of jobs that took turns, and judge them."""
    equal = turns[EQUAL]
    for name, its in turns.items():
        report.rows.append(
            {
                "ranks": num_ranks,
                "tasks": num_tasks,
                "balancing": name,
                "ms/step": 1e3 * seconds(its),
                "x equal": times(its, equal),
                "bytes/step": _num_bytes(its) - _num_bytes(equal) if name != PLAIN else None,
            }
        )
    of = f"{num_tasks} tasks, {num_ranks} rank{'s' * (num_ranks > 1)}"
    if num_tasks in BARS:
        report.at_most(
            f"upgrad against equal, {of}", times(turns[AT_HEADS], equal), BARS[num_tasks]
        )
    if num_ranks > 1:
        sent = _num_bytes(turns[AT_HEADS]) - _num_bytes(equal)
        report.at_most(f"bytes of upgrad, {of}", sent, 8 * (num_tasks**2 + num_tasks))


def _num_bytes(turns: Sequence[Turn]) -> float:
    return median(turn.num_bytes for turn in turns)


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(3)")
    parser.add_argument("--ranks", type=int, nargs="+", default=(2, 1), metavar="N", help="(2 1)")
    parser.add_argument(
        "--tasks", type=int, nargs="+", default=(2, 4, 8, 16), metavar="N", help="(2 4 8 16)"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
