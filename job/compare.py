"""track: the runs of an MLflow experiment side by side, in the terminal.

`python job/compare.py [RUN ...] [--experiment NAME] [--baseline RUN]`
"""

import argparse
import csv
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from job.comparison import GAIN, Row, add_gain, best, columns, differing, group
from job.grid import print_grid
from job.mlflow_store import StoreError, first_line, open_client, sqlite_path, without_password
from mtl.errors import ConfigError, UserError
from mtl.plugin import nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

MAX_NAMES = 20
HEADS = {
    GAIN: "\u0394m",
    "test/mean_gain": "test\nmean_gain",
    "throughput/seeds_per_second": "seeds/s",
}


def main(argv: list[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    args = parse(argv)
    try:
        rows = [Row.of(run) for run in find_runs(args)]
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if args.baseline:
        add_gain(rows, [row for row in rows if {row.name, *row.run_ids} & set(args.baseline)])
    rows = group(rows) if args.group else rows
    show(rows)
    if args.json:
        content = {"rows": [asdict(row) for row in rows], "params": differing(rows)}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if args.csv:
        write_csv(args.csv, rows)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="job/compare.py", description=__doc__)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="name or id; default: all of the experiment"
    )
    parser.add_argument("--experiment", metavar="NAME", help="default: the one of the newest run")
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help="default: %(default)s")
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        action="append",
        default=[],
        help="show the mean relative gain over tasks (delta_m) against this run; may be given "
        "several times, as for one single-task run for each task",
    )
    parser.add_argument("--group", action="store_true", help="mean ± deviation over run.seed")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def find_runs(args: argparse.Namespace) -> "list[Run]":
    """Return the runs to compare, the newest first or as they were named, then the baselines.

    Raises:
        ConfigError: There is no such store, experiment or run.
        StoreError: The store does not answer.
    """
    path = sqlite_path(args.uri)
    if path is not None and not path.exists():
        raise ConfigError(f"--uri: no database at {path}; train a model first, or name another")
    client = open_client(args.uri)
    try:
        experiments = list(client.search_experiments())
        chosen = [e for e in experiments if args.experiment in (None, e.name)]
        runs = newest_first(client, chosen)
    except Exception as error:  # whatever a store answers
        uri = without_password(args.uri)
        raise StoreError(f"--uri: {uri} does not answer: {first_line(error)}") from error
    if not chosen:
        raise unknown("--experiment", args.experiment, [e.name for e in experiments])
    if not runs:
        raise ConfigError(f"no runs in {', '.join(e.name for e in chosen)}: train a model first")
    shown = [run for name in args.runs for run in named(runs, "RUN", name)]
    newest = runs[0].info.experiment_id
    shown = shown or [run for run in runs if run.info.experiment_id == newest]
    shown += [run for name in args.baseline for run in named(runs, "--baseline", name)]
    return list({run.info.run_id: run for run in shown}.values())


def newest_first(client: "MlflowClient", experiments: "list[Experiment]") -> "list[Run]":
    """Return all runs of the experiments, the newest first."""
    ids = [experiment.experiment_id for experiment in experiments]
    runs: list[Run] = []
    token = None
    while ids:
        page = client.search_runs(ids, order_by=["attributes.start_time DESC"], page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def named(runs: "list[Run]", option: str, name: str) -> "list[Run]":
    """Return the runs of this name or id."""
    found = [run for run in runs if name in (run.info.run_name, run.info.run_id)]
    if not found:
        raise unknown(option, name, [run.info.run_name for run in runs])
    return found


def unknown(option: str, name: str, existing: list[str]) -> ConfigError:
    """Return the error for a name that does not exist; it says those that do."""
    names = list(dict.fromkeys(existing))
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    return ConfigError(
        f"{option}: {name!r} does not exist{nearest(name, names)} (there are: {shown})"
    )


def show(rows: list[Row]) -> None:
    """Print the runs with their metrics, then the parameters in which they differ."""
    keys = columns(rows)
    tops = {key: best(rows, key) for key in keys}
    numbers = [
        [*(cell(row, key, tops[key]) for key in keys), Text(row.status.replace(", ", "\n"))]
        for row in rows
    ]
    heads = [HEADS.get(key, key.removeprefix("test/").replace("/", "\n")) for key in keys]
    twice = {name for name, count in Counter(row.name for row in rows).items() if count > 1}
    names = [row.name + (f" {row.run_ids[0][:6]}" if row.name in twice else "") for row in rows]
    print_grid("run", names, [*heads, "status"], numbers)
    params = differing(rows)
    if params:
        texts = [[Text(value) for value in values] for values in params.values()]
        print_grid("parameter", list(params), names, texts)


def cell(row: Row, key: str, top: float | None) -> Text:
    """Write one number, bold where it is the best one."""
    if key not in row.metrics:
        return Text("-")
    form = "{:+.2%}" if key == GAIN else "{:,.0f}" if key.startswith("throughput/") else "{:.4g}"
    text = form.format(row.metrics[key])
    if key in row.spread:
        text += " ± " + form.replace("+", "").replace(".4g", ".2g").format(row.spread[key])
    return Text(text, style="bold" if row.metrics[key] == top else "")


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write one line a run: name, ids, status, metrics, deviations, differing parameters."""
    keys = columns(rows)
    params = differing(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        spreads = [key for key in keys if any(key in row.spread for row in rows)]
        writer.writerow(
            ["run", "run_ids", "status", *keys, *(f"{key} sd" for key in spreads), *params]
        )
        for index, row in enumerate(rows):
            numbers = [row.metrics.get(key) for key in keys] + [row.spread.get(k) for k in spreads]
            values = [values[index] for values in params.values()]
            writer.writerow([row.name, " ".join(row.run_ids), row.status, *numbers, *values])


if __name__ == "__main__":
    sys.exit(main())
