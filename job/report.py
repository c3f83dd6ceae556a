"""track: the page of a finished run, for people: RUN_DIR/report.html.

`python -m job.report RUN_DIR` draws it again; `--baseline RUN_DIR` adds a run of one of its tasks
alone.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from job import report_classes, report_values
from job.arguments import exit_code
from job.mlflow_store import first_line
from job.page import Page, Section, styles
from job.record import REPORT, unfit
from job.report_results import over_single, reductions, results
from job.report_run import Run, read_run
from job.report_training import gates, gradients, learning, resources
from mtl.errors import ConfigError

DRAWN: dict[str, tuple[Callable[[Section, dict[str, Any]], None], str]] = {
    "classes": (report_classes.classes, "confusion"),
    "columns": (report_classes.columns, "calls"),
    "numbers": (report_values.numbers, "errors"),
    "links": (report_values.links, "at"),
    "vectors": (report_values.vectors, "cosines"),
}
"""What draws each kind of diagnosis, and where it counts all examples."""


def draw_or_say(run_dir: Path, say: Callable[[str], None]) -> None:
    """Write the page; where that fails, say so and go on."""
    try:
        write_report(run_dir)
    except Exception as error:  # a picture ends no training
        say(f"warning: {run_dir / REPORT} is not written: {first_line(error)}")


def write_report(run_dir: Path, baselines: Sequence[Path] = ()) -> Path:
    """Write the page of a finished run.

    Args:
        run_dir: Of the run.
        baselines: Runs of its tasks, each alone.

    Returns:
        The page.

    Raises:
        ConfigError: A folder is none of a finished run, or a baseline is none of this run.
    """
    with unfit(run_dir), np.errstate(over="raise", invalid="raise", divide="raise"):
        return _page(run_dir, baselines).write(run_dir / REPORT)


def _page(run_dir: Path, baselines: Sequence[Path]) -> Page:
    run = read_run(run_dir)
    singles = [single(path, run) for path in baselines]
    looks = styles(run.tasks)
    page = Page(run.name, subtitle(run))
    page.section("In short", in_short(run))
    results(page, run, singles, looks)
    reductions(page, run, looks)
    over_single(page, run, singles)
    learning(page, run, looks)
    for task, facts in run.diagnosis.items():
        section = page.section(f"{task} on the test split")
        draw, counts = DRAWN[facts["kind"]]
        if np.sum(facts[counts]):
            draw(section, facts)
        else:
            section.text("No example of the split has a label.")
    gradients(page, run, looks)
    gates(page, run)
    resources(page, run)
    return page


def single(path: Path, run: Run) -> Run:
    """Read a run of one of the tasks alone."""
    found = read_run(path)
    if len(found.tasks) != 1 or not set(found.tasks) <= {*run.tasks}:
        raise ConfigError(
            f"--baseline {path}: expected a run of one task, one of {', '.join(run.tasks)}; it has "
            f"{', '.join(found.tasks)} (tasks.NAME=null removes a task)"
        )
    if found.card["fingerprint"] != run.card["fingerprint"]:
        raise ConfigError(
            f"--baseline {path}: expected a run on the same graph, {run.card['name']} "
            f"{run.card['fingerprint'][:12]}; it is on {found.card['name']} "
            f"{found.card['fingerprint'][:12]}"
        )
    return found


def subtitle(run: Run) -> str:
    """Say how the run ended."""
    step, best = run.summary["step"], run.summary["best_step"]
    return f"{run.summary['status']} after {step:,} steps; results are those of step {best:,}"


def in_short(run: Run) -> str:
    """Say what was trained on what, and how far it came, in four lines."""
    config, card = run.config, run.card
    nodes, edges = card["nodes"], card["edges"]
    num_nodes = sum(facts["num_nodes"] for facts in nodes.values())
    num_edges = sum(facts["num_edges"] for facts in edges.values())
    model, tasks = config["model"], {t: config["tasks"][t]["type"] for t in run.tasks}
    gain = run.metrics.get("test/mean_gain")
    size = sum(run.summary.get("num_parameters", {}).values())
    lines = [
        f"Graph {card['name']}: {num_nodes:,} nodes of {kinds(len(nodes))}, {num_edges:,} edges of "
        f"{kinds(len(edges))}.",
        f"{len(tasks)} task{'s' * (len(tasks) > 1)}: "
        + ", ".join(f"{name} ({kind.replace('_', ' ')})" for name, kind in tasks.items())
        + ".",
        f"Model: {model['encoder']['type']} of {model['encoder']['num_layers']} layers, width "
        f"{model['dim']}, {model['sharing']['type']} sharing, {size:,} parameters; "
        f"balancing {config['balancing']['type']}.",
    ]
    if gain is not None:
        lines.append(f"The tasks' losses are {100 * gain:.1f} % below guessing, on average.")
    return "\n".join(lines)


def kinds(number: int) -> str:
    """Count types in words."""
    return f"{number} type{'s' * (number != 1)}"


def main(argv: list[str] | None = None) -> int:
    """Write the page of a finished run to RUN_DIR/report.html; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m job.report", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--baseline",
        type=Path,
        action="append",
        default=[],
        metavar="RUN_DIR",
        help="a run of one of the tasks alone (tasks.NAME=null for the others); may be repeated",
    )
    args = parser.parse_args(argv)
    return exit_code(lambda: print(write_report(args.run_dir, args.baseline)))


if __name__ == "__main__":
    sys.exit(main())
