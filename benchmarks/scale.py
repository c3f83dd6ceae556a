"""Two ranks against one, each rank with its loader threads on one core of its own.

All train the same step, of two microbatches: one rank computes both, two ranks one each. A last
row shows what the machine itself gives: two such jobs at once that know nothing of each other.

usage: python benchmarks/scale.py [--quick] [--json FILE]
"""

from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

from _jobs import Ours, products
from _machine import separate_cores
from _report import Report, run
from _steps import rate, record_steps

BAR = 1.8


def measure(args: Namespace) -> Report:
    cores = separate_cores(2)
    if cores is None:
        row = {"what": "skipped: two cores of their own are needed", "seeds/s": None, "x": None}
        return Report(rows=[row])
    shape = products(quick=args.quick)
    job = Ours(shape=shape, microbatches=2, precision="auto")
    warm_up, num_steps = (2, 5) if args.quick else (6, 20)
    seeds = 2 * shape.batch_size

    def speed(cores: Sequence[int]) -> float:
        records = record_steps(job, warm_up + num_steps, num_ranks=len(cores), cores=cores)
        return rate(records, seeds, warm_up)

    def apart(cores: Sequence[int]) -> float:
        with ThreadPoolExecutor(len(cores)) as pool:
            return sum(pool.map(speed, [[core] for core in cores]))

    measures = {
        "1 rank": partial(speed, cores[:1]),
        "2 ranks": partial(speed, cores),
        "2 jobs apart": partial(apart, cores),
    }
    if args.quick:
        del measures["2 jobs apart"]
    num_rounds = 1 if args.quick else 5
    rounds = [{name: act() for name, act in measures.items()} for _ in range(num_rounds)]
    speeds = {name: median(found[name] for found in rounds) for name in measures}
    one = speeds["1 rank"]
    rows = [{"what": name, "seeds/s": value, "x": value / one} for name, value in speeds.items()]
    report = Report(rows=rows)
    report.at_least("seeds/s of 2 ranks against 1", speeds["2 ranks"] / one, BAR)
    return report


if __name__ == "__main__":
    run(measure, __doc__)
