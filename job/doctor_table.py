"""doctor: what was found, as a table by subject, then the problems once more, to be worked off."""

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from job.doctor_findings import Finding, Level

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("OK", "green"),
    "unknown": ("?", "dim"),
    "warning": ("warning", "yellow"),
    "problem": ("PROBLEM", "bold red"),
}
"""What stands before a finding of each level, the worst last, and its colour."""


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print all findings, the problems of each subject last, and what to do about problems."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=20)
    table.add_column(overflow="fold")
    for subject, group in groupby(findings, lambda finding: finding.subject):
        table.add_row("", Text(subject, "bold"), "")
        for finding in sorted(group, key=lambda finding: list(MARKS).index(finding.level)):
            mark, style = MARKS[finding.level]
            words = Text(finding.found, style if finding.level != "ok" else "")
            if finding.advice:
                words.append(f"\n-> {finding.advice}", "bold" if finding.level == "problem" else "")
            table.add_row(Text(mark, style), finding.what, words)
        table.add_section()
    console.print(table)
    problems = [finding for finding in findings if finding.level == "problem"]
    if problems:
        console.print(Text("\nto do", "bold"))
        to_do = Table.grid(padding=(0, 1))
        for number, finding in enumerate(problems, 1):
            words = Text(f"{finding.subject}, {finding.what}: {finding.found}")
            words.append(f"\n-> {finding.advice}" * bool(finding.advice), "bold")
            to_do.add_row(f"{number}.", words)
        console.print(to_do)
    console.print(Text(f"\n{summary(findings)}", "bold"))


def summary(findings: Sequence[Finding]) -> str:
    """Count the findings of each level in a line."""
    number = {level: sum(f.level == level for f in findings) for level in MARKS}
    words = [_many(number["problem"], "problem"), _many(number["warning"], "warning")]
    unknown = f", {number['unknown']} not looked at" * bool(number["unknown"])
    return f"{', '.join(words)}, {number['ok']} OK{unknown}"


def _many(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'s' * (number != 1)}"
