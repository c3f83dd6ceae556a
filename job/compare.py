"""Compare the runs of an MLflow experiment side by side, in the terminal and on a page.

`python job/compare.py [RUN ...] [--experiment NAME] [--baseline RUN] [--html FILE]`
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from job.comparison import Row, best_first
from job.comparison_gain import add_gains
from job.comparison_groups import group
from job.comparison_runs import find_rows, is_called, open_store
from job.comparison_table import show, write_csv, write_json
from job.comparison_verdict import verdict
from job.mlflow_store import StoreError
from job.redaction import without_secrets
from mtl.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def main(argv: list[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    args = parse(argv)
    try:
        client = open_store(args.uri)
        rows = find_rows(client, args.uri, args.experiment, args.runs, args.baseline, args.filter)
        rows = group(rows) if args.group else rows
        based = [row for row in rows if any(is_called(row, name) for name in args.baseline)]
        add_gains(rows, based)
        rows = best_first(rows)
        show(rows)
        Console().print(Text(verdict(rows)))
        write(args, rows, client, sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(without_secrets(str(error)), file=sys.stderr)
        return error.exit_code
    except OSError as error:
        file = error.filename2 or error.filename
        print(f"{file} cannot be written: {error.strerror}", file=sys.stderr)
        return StoreError.exit_code
    return 0


def write(
    args: argparse.Namespace, rows: list[Row], client: "MlflowClient", words: list[str]
) -> None:
    """Write the files that were asked for."""
    if args.json:
        write_json(args.json, rows)
    if args.csv:
        write_csv(args.csv, rows)
    if args.html:
        from job.comparison_page import write_page

        command = without_secrets(shlex.join(["python", "job/compare.py", *words]))
        with Console(stderr=True).status("reading the curves"):
            path = write_page(args.html, rows, client, command)
        print(path)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="job/compare.py", description=main.__doc__)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="name or id; default: all of the experiment"
    )
    parser.add_argument("--experiment", metavar="NAME", help="default: the one of the newest run")
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help="default: %(default)s")
    parser.add_argument(
        "--filter",
        default="",
        metavar="TEXT",
        help="only the runs that MLflow finds by this, such as \"params.`model.dim` = '64'\"",
    )
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        action="append",
        default=[],
        help="show the mean relative gain over tasks (delta_m) against this run; may be given "
        "several times, as for one single-task run for each task",
    )
    parser.add_argument(
        "--group",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="runs that differ in run.seed alone are one row: mean ± deviation (the default)",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="a page of all of it, with curves"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
