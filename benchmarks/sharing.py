"""Which tasks together, and how: each task alone against all of them under every way of sharing.

The tasks of us_county.yaml and cora_links.yaml, as shipped, over several seeds. Alone is a training
of one task with the same width, graph and splits; of Cora's it hides the same edges. Compared are
runs of one seed, which is the seed of the county's split, too; noise is two standard errors of the
mean difference.

usage: python benchmarks/sharing.py [--quick] [--json FILE] [--data DIR] [--seeds N] [--runs DIR]
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import mean, stdev

from _processes import scratch
from _report import Report, Row, run
from _studies import ALONE, STUDIES, Study
from _trainings import Summary, step_seconds, train_all

NUM_SEEDS, ROUNDS = 5, 3
AUROC_BAR = 0.90


def measure(args: Namespace) -> Report:
    report, data = Report(), args.data.resolve()
    found = [study for study in STUDIES if (data / study.needs).exists()]
    missing = [study for study in STUDIES if study not in found]
    report.notes += [f"{s.name}: skipped, there is no {data / s.needs}" for s in missing]
    kept = nullcontext(args.runs.resolve()) if args.runs else scratch()
    with kept as runs, scratch() as timed:
        for study in found:
            _study(report, study, data, runs, timed, args)
    if not report.rows:
        report.rows.append({"graph": "none found"})
    return report


def _study(
    report: Report, study: Study, data: Path, runs: Path, timed: Path, args: Namespace
) -> None:
    """Add the rows and the bars of one configuration."""
    seeds, short = range(2 if args.quick else args.seeds), ["train.epochs=2"] if args.quick else []
    systems = study.systems()
    if args.quick:
        systems = {name: systems[name] for name in (ALONE, "hard")}
    names = list(dict.fromkeys(name for its in systems.values() for name in its.values()))
    commands = {
        f"{study.name}-{name}-{seed}": [*study.command(name, data, seed), *short]
        for seed in seeds
        for name in names
    }
    summaries = train_all(commands, runs)
    of = {name: [summaries[f"{study.name}-{name}-{seed}"] for seed in seeds] for name in names}
    seconds = _seconds(study, names, data, timed, quick=args.quick)
    scores = {
        system: {task: study.scores(task, of[name]) for task, name in its.items()}
        for system, its in systems.items()
    }
    for system, its in systems.items():
        spent: Row = dict.fromkeys(("weights", "ms/step", "x hard"))
        if system in names or study.without_others:  # else each training holds all tasks
            cost = sum(seconds[name] for name in set(its.values()))
            weights = sum(_weights(of[name][0]) for name in set(its.values()))
            spent = {"weights": weights, "ms/step": 1e3 * cost, "x hard": cost / seconds["hard"]}
        report.rows += _rows(study, system, scores[system], scores[ALONE], spent)
    _judge(report, study, scores["hard"], scores[ALONE])


def _rows(
    study: Study,
    system: str,
    scores: dict[str, list[float]],
    alone: dict[str, list[float]],
    spent: Row,
) -> list[Row]:
    """Return a row for each task, and one for what all of them gain and cost."""
    rows: list[Row] = []
    for task, its in scores.items():
        lost, noise = compare(its, alone[task])
        numbers = {"mean": mean(its), "± seeds": stdev(its), "gain": 0.0 - lost}
        row = {"graph": study.name, "sharing": system, "task": task, "metric": study.tasks[task]}
        rows.append({**row, **numbers, "noise": noise, **dict.fromkeys(spent)})
    gains = [100 * gain for gain in relative_gains(scores, alone)]
    row = {"graph": study.name, "sharing": system, "task": "all", "metric": "delta_m %"}
    numbers = {"mean": mean(gains), "± seeds": stdev(gains), "gain": mean(gains)}
    return [*rows, {**row, **numbers, "noise": 2 * stdev(gains) / len(gains) ** 0.5, **spent}]


def _judge(
    report: Report, study: Study, joint: dict[str, list[float]], alone: dict[str, list[float]]
) -> None:
    """Judge what tasks lose together under the shared bottom, and what links reach there."""
    for task in study.judged:
        what = f"{study.name}, {task}: {study.tasks[task]} lost beside others, bar seed noise"
        report.at_most(what, *compare(joint[task], alone[task]))
    if "cites" in joint:
        report.at_least("Cora, cites: auroc beside topic", mean(joint["cites"]), AUROC_BAR)


def compare(joint: Sequence[float], alone: Sequence[float]) -> tuple[float, float]:
    """Return what is lost on average, and two standard errors of that, of pairs of runs."""
    lost = [a - j for a, j in zip(alone, joint, strict=True)]
    return mean(lost), 2 * stdev(lost) / len(lost) ** 0.5


def relative_gains(scores: dict[str, list[float]], alone: dict[str, list[float]]) -> list[float]:
    """Return delta_m of each seed: mean over tasks of `(M - B) / B` (Maninis et al., 2019).

    B is what the task reaches alone, with the same seed; higher is better of all metrics here.
    """
    by_task = [
        [(m - b) / abs(b) for m, b in zip(its, alone[task], strict=True)]
        for task, its in scores.items()
    ]
    return [mean(of_seed) for of_seed in zip(*by_task, strict=True)]


def _seconds(
    study: Study, names: Sequence[str], data: Path, folder: Path, *, quick: bool
) -> dict[str, float]:
    """Return the seconds of a step of each training, on one core."""
    commands = {
        f"{study.name}-{name}": [*study.command(name, data, 0), *study.timed(quick=quick)]
        for name in names
    }
    seconds = step_seconds(commands, folder, 1 if quick else ROUNDS)
    return {name: seconds[f"{study.name}-{name}"] for name in names}


def _weights(summary: Summary) -> int:
    return int(sum(summary["num_parameters"].values()))


def _options(parser: ArgumentParser) -> None:
    default = Path(os.environ.get("GRAPHMTL_DATA", "data"))
    parser.add_argument(
        "--data",
        type=Path,
        default=default,
        help="has us_county/ and Cora/raw ($GRAPHMTL_DATA)",
    )
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, metavar="N", help="at least 2 (5)")
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="keep the trainings; what is done is not repeated"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
