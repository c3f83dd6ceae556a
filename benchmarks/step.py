"""A whole training step on the CPU, sampling and gathering included, against plain PyG's recipe.

usage: python benchmarks/step.py [--quick] [--json FILE] [--rounds N]
"""

import os
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from statistics import median

from _jobs import Job, Ours, Plain, Shape, products
from _machine import has_bf16, version
from _report import Report, run
from _steps import Record, rate, record_steps

FP32_BAR, AUTO_BAR = 4.0, 12.0


@dataclass(frozen=True)
class Entry:
    """One way to train, its seeds a second in every round, and the lines of the last one."""

    name: str
    job: Job
    precision: str
    workers: int | None
    warm_up: int
    num_steps: int
    speeds: list[float] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


def measure(args: Namespace) -> Report:
    shape = products(quick=args.quick)
    entries = _entries(shape, quick=args.quick)
    for _ in range(1 if args.quick else args.rounds):
        for entry in entries:
            records = record_steps(entry.job, entry.warm_up + entry.num_steps)
            entry.speeds.append(rate(records, shape.batch_size, entry.warm_up))
            entry.records[:] = records[entry.warm_up :]

    report = Report()
    plain = max(median(entry.speeds) for entry in entries if entry.name != "ours")
    for entry in entries:
        speed = median(entry.speeds)
        report.rows.append(
            {
                "system": entry.name,
                "precision": entry.precision,
                "workers": entry.workers,
                "seeds/s": speed,
                "ms/step": 1e3 * shape.batch_size / speed,
                "x best plain": speed / plain,
            }
        )
    fp32, *auto = (median(entry.speeds) for entry in entries if entry.name == "ours")
    report.at_least("fp32 seeds/s against plain PyG", fp32 / plain, FP32_BAR)
    for speed in auto:
        report.at_least("precision auto (bf16) against plain PyG", speed / plain, AUTO_BAR)
    if not auto:
        report.notes.append("precision auto is fp32 here: this CPU has no bf16 instructions")
    report.notes.append(f"plain PyG draws neighbours with {sampler_of_plain()}")
    report.notes += [note for entry in entries if (note := _parts(entry))]
    return report


def sampler_of_plain() -> str:
    """Return which sampler PyG's NeighborLoader has here."""
    for name in ("pyg-lib", "torch-sparse"):
        if version(name) != "not installed":
            return f"{name} {version(name)}"
    return "OUR sampler: neither pyg-lib nor torch-sparse is installed"


def _parts(entry: Entry) -> str:
    """Say where a step's time goes, if the training tells."""
    names = [name for name in entry.records[0] if name.startswith("time/")]
    parts = {name: 1e3 * median(record[name] for record in entry.records) for name in names}
    words = [f"{name.removeprefix('time/')} {ms:.1f}" for name, ms in parts.items() if ms >= 0.1]
    return f"{entry.name}, {entry.precision}, ms a step: {', '.join(words)}" if words else ""


def _entries(shape: Shape, *, quick: bool) -> list[Entry]:
    """Return ours in each precision, and the recipe with each number of workers."""
    many = (2, 5) if quick else (6, 30)
    few = (1, 5) if quick else (1, 4)
    precisions = ["fp32", "auto"] if has_bf16() else ["fp32"]
    cores = len(os.sched_getaffinity(0))
    workers = [0] if quick else sorted({0, 1, cores})
    ours = [Entry("ours", Ours(shape=shape, precision=p), p, None, *many) for p in precisions]
    plain = [
        Entry("plain PyG", Plain(shape=shape, num_workers=n), "fp32", n, *few) for n in workers
    ]
    return ours + plain


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="4 minutes each on 2 cores (3)"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
