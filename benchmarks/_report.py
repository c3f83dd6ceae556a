"""What every benchmark has in common: its arguments, one table, one JSON."""

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _machine import describe
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Row = dict[str, Any]


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        rows: of the table, all with the same columns.
        bars: name -> value, bar, "met" or "missed"; a bar that could not be judged is not here.
        notes: under the table: what was not measured, and why.
    """

    rows: list[Row] = field(default_factory=list)
    bars: dict[str, tuple[float, float, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def at_least(self, name: str, value: float, bar: float) -> None:
        """Judge a value that should reach a bar."""
        self._judge(name, value, bar, met=value >= bar)

    def at_most(self, name: str, value: float, bar: float) -> None:
        """Judge a value that should stay below a bar."""
        self._judge(name, value, bar, met=value <= bar)

    def _judge(self, name: str, value: float, bar: float, *, met: bool) -> None:
        assert name not in self.bars, f"{name!r} is judged twice"
        verdict = "met" if met else "missed"
        self.bars[name] = (float(f"{value:.4g}"), float(f"{bar:.4g}"), verdict)


def run(
    measure: Callable[[Namespace], Report],
    doc: str | None,
    options: Callable[[ArgumentParser], object] | None = None,
) -> None:
    """Read the command line, measure, print the table and write the JSON.

    Args:
        measure: the benchmark; it reads `args.quick` and its own options.
        doc: docstring of the script: the title, and its usage.
        options: adds the script's own options.
    """
    script = Path(sys.argv[0])
    parser = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a tiny graph and few steps: shows that it runs"
    )
    parser.add_argument(
        "--json", type=Path, default=script.with_suffix(".json"), help="file to write"
    )
    if options:
        options(parser)
    args = parser.parse_args()
    report = measure(args)
    show(report, script.stem, quick=args.quick)
    result = {
        "benchmark": script.stem,
        "quick": args.quick,
        "machine": describe(),
        "rows": report.rows,
        "bars": report.bars,
        "notes": report.notes,
    }
    args.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


def show(report: Report, name: str, *, quick: bool) -> None:
    """Print the table, then the bars and the notes."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{name} (quick: the numbers mean nothing)" if quick else name)
    table = Table()
    for column in report.rows[0]:
        numbers = any(isinstance(row[column], int | float) for row in report.rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in report.rows:
        table.add_row(*(escape(cell(value)) for value in row.values()))
    console.print(table)
    for bar, (value, limit, verdict) in report.bars.items():
        console.print(f"{bar}: {cell(value)}, bar {cell(limit)}: {verdict}", markup=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)


def cell(value: object) -> str:
    """Write a value for people: three digits that count."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)
