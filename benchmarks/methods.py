"""Every task balancing against the plain mean, against trunks apart, and against each task alone.

Several seeds of shipped configurations; compared are runs of one seed. delta_m is the mean over
tasks of the relative gain in their headline (Maninis et al., 2019), noise two standard errors of
its mean. `static` has one over each task's trivial loss as its weights.

usage: python benchmarks/methods.py [--quick] [--json FILE] [--data DIR] [--seeds N] [--runs DIR]
                                    [--graphs NAME ...] [--methods NAME ...]
"""

import os
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from _processes import scratch
from _report import Report, Row, run
from _studies import STUDIES, Study
from _trainings import Summary, train_all
from sharing import relative_gains

from mtl.balancing import Balancing

EQUAL, SEPARATE, STATIC, PCD = "equal", "separate trunks", "static", "pcd"
COUNTY, CORA = STUDIES
PHOTO = replace(
    CORA,
    name="Photo",
    needs="Photo/raw",
    extra=(
        "graph={type: amazon, name: Photo, root: ROOT}",
        "tasks.topic.split=random",
        "loader.rates={node__to__node: 0.05, node: 4}",
        "train.epochs=15",
        "evaluate.every_epochs=3",
    ),
)
OEWN = Study(
    name="oewn",
    config="oewn.yaml",
    needs="oewn/synset.parquet",
    root="oewn",
    tasks={
        "lexname": "accuracy",
        "topic": "macro_f1",
        "depth": "r2",
        "wikidata": "auroc",
        "frames": "micro_f1",
        "pos": "micro_f1",
        "hypernym": "mrr",
        "relation": "accuracy",
    },
    judged=(),
    alone_overrides=("evaluate.select=TASK/METRIC",),
    without_others=False,  # the same edges are hidden from each task alone
    extra=(  # about 150 steps, which is a tenth of the shipped training
        "train.epochs=1",
        "model.dim=64",
        "loader.batch_size=512",
        "loader.global_batch_size=512",
        "loader.rates={synset: 0.4, lemma: 0.2, synset__hypernym__synset: 0.4, "
        "synset__related__synset: 0.1}",
        "evaluate.num_neighbors={default: [8, 4], synset__related__synset: [0, 0]}",
    ),
)
GRAPHS = {study.name: study for study in (COUNTY, PHOTO, OEWN)}


def measure(args: Namespace) -> Report:
    report, data = Report(), args.data.resolve()
    with nullcontext(args.runs.resolve()) if args.runs else scratch() as runs:
        for study in (GRAPHS[name] for name in args.graphs):
            if (data / study.needs).exists():
                _study(report, study, data, runs, args)
            else:
                report.notes.append(f"{study.name}: skipped, there is no {data / study.needs}")
    if not report.rows:
        report.rows.append({"graph": "none found"})
    return report


def _study(report: Report, study: Study, data: Path, runs: Path, args: Namespace) -> None:
    """Add a row for each method on one graph."""
    seeds, short = range(2 if args.quick else args.seeds), ["train.epochs=2"] if args.quick else []
    methods = [EQUAL, *(["upgrad"] if args.quick else args.methods)]
    overrides = {method: [f"balancing={{type: {method}}}"] for method in methods}
    if PCD in methods:
        overrides[PCD] = [f"balancing={{type: pcd, primary: {next(iter(study.tasks))}}}"]
    overrides[SEPARATE] = ["model.sharing={type: separate}"]

    def commands(systems: dict[str, list[str]]) -> dict[str, list[str]]:
        return {
            f"{study.name}-{system}-{seed}": [*study.command("hard", data, seed), *own, *short]
            for seed in seeds
            for system, own in systems.items()
        }

    alone = {
        f"{study.name}-{name}-{seed}": [*study.command(name, data, seed), *short]
        for seed in seeds
        for name in map(study.alone, study.tasks)
    }
    summaries = train_all(alone | commands(overrides), runs)
    first = summaries[f"{study.name}-{EQUAL}-0"]
    overrides[STATIC] = [_inverse_losses(study, first)]
    summaries |= train_all(commands({STATIC: overrides[STATIC]}), runs)

    def scores(system: str, task: str) -> list[float]:
        return study.scores(task, [summaries[f"{study.name}-{system}-{s}"] for s in seeds])

    baseline = {task: scores(study.alone(task), task) for task in study.tasks}
    found = {s: {task: scores(s, task) for task in study.tasks} for s in overrides}
    report.rows += [
        _row(study.name, system, its, baseline, found[EQUAL]) for system, its in found.items()
    ]


def _inverse_losses(study: Study, summary: Summary) -> str:
    weights = {task: 1 / summary["metrics"][f"trivial/{task}/loss"] for task in study.tasks}
    total = sum(weights.values())
    pairs = ", ".join(f"{task}: {weight / total:.6g}" for task, weight in weights.items())
    return f"balancing={{type: static, weights: {{{pairs}}}}}"


def _row(
    graph: str,
    system: str,
    scores: dict[str, list[float]],
    alone: dict[str, list[float]],
    equal: dict[str, list[float]],
) -> Row:
    """Return what a method gains over each task alone and over the plain mean."""
    over_alone = [100 * gain for gain in relative_gains(scores, alone)]
    over_equal = [100 * gain for gain in relative_gains(scores, equal)]
    gains = {
        task: 100 * mean((m - e) / abs(e) for m, e in zip(its, equal[task], strict=True))
        for task, its in scores.items()
    }
    best, worst = max(gains, key=lambda t: gains[t]), min(gains, key=lambda t: gains[t])
    return {
        "graph": graph,
        "balancing": system,
        "delta_m % over alone": mean(over_alone),
        "± seeds": stdev(over_alone),
        "over equal": mean(over_equal),
        "noise": 2 * stdev(over_equal) / len(over_equal) ** 0.5,
        "gains most": f"{best} {gains[best]:+.1f}",
        "loses most": f"{worst} {gains[worst]:+.1f}",
    }


def _options(parser: ArgumentParser) -> None:
    default = Path(os.environ.get("GRAPHMTL_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=default, help="has us_county/, Photo/raw ($GRAPHMTL_DATA)"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="at least 2 (5)")
    parser.add_argument(
        "--runs", type=Path, metavar="DIR", help="keep the trainings; what is done is not repeated"
    )
    parser.add_argument(
        "--graphs", nargs="+", choices=list(GRAPHS), default=["us_county", "Photo"], help="which"
    )
    methods = [name for name in Balancing.types() if name not in (EQUAL, STATIC)]
    parser.add_argument(
        "--methods", nargs="*", choices=methods, default=methods, help="beside equal and static"
    )


if __name__ == "__main__":
    run(measure, __doc__, _options)
