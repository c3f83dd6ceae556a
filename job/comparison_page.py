"""compare: the page that shows runs side by side: a sentence, tables, charts, in one file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING

from job import comparison_charts as charts
from job.comparison import GAIN, MEAN_GAIN, SEED, Row, best, differing
from job.comparison_content import Content, gather
from job.comparison_gain import MIN_PAIRS
from job.comparison_sections import conflicts, learning, trade_offs, weights
from job.comparison_table import head, is_best, percent, split, sureness, text
from job.comparison_verdict import verdict
from job.mlflow_end import COST
from job.page import Cell, Page, Section

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_IN_TITLE = 4
MAX_BARS = 8
MIN_ROWS = 5
GAIN_WORDS = f"""Relative to the mean of the baseline; positive is better, for errors too. Below \
each: p of a paired t-test over the n seeds that both have, after Holm's correction over the runs \
of the column. ± and whiskers: one standard deviation over these seeds. The test takes differences \
for normal; {MIN_PAIRS} seeds are the least for it, and few."""


def write_page(path: Path, rows: list[Row], client: "MlflowClient", command: str) -> Path:
    """Write the page.

    Args:
        path: File to write; its folder is made.
        rows: Runs, or groups of runs that differ in the seed.
        client: Of the store that has the curves.
        command: Command line that makes the page again.
    """
    content = gather(rows, client)
    page = Page(title(rows), subtitle(rows), content.looks)
    page.section("In short", verdict(rows))
    for add in (results, gains, learning, trade_offs, weights, conflicts, configuration, more):
        add(page, content)
    made = page.section("Runs")
    run_table(made, content)
    page.section("How this page was made").code(command)
    path.parent.mkdir(parents=True, exist_ok=True)
    return page.write(path)


def title(rows: Sequence[Row]) -> str:
    """Name the rows, or say how many."""
    names = list(dict.fromkeys(row.name for row in rows))
    return ", ".join(names) if len(names) <= MAX_IN_TITLE else f"{len(rows)} runs side by side"


def subtitle(rows: Sequence[Row]) -> str:
    """Say how many runs there are, and when they were looked at."""
    num_runs = sum(len(row.members) for row in rows)
    now = datetime.now(UTC)
    return f"{num_runs} MLflow run{'s' * (num_runs != 1)}, as of {now:%Y-%m-%d %H:%M} UTC"


def results(page: Page, content: Content) -> None:
    """Show the first metric of each task."""
    tested = any(key.startswith("test/") for key in content.heads.values())
    caption = (
        f"The first metric of each task on the {'test' if tested else 'validation'} split: "
        "mean ± deviation over seeds, the best in bold"
    )
    status = [row.status for row in content.all]
    first, _ = split(content.all)
    metric_table(page.section("Results"), content, first, caption, {"status": status})


def more(page: Page, content: Content) -> None:
    """Show all other metrics of the same split."""
    _, rest = split(content.all)
    if rest:
        metric_table(page.section("More metrics"), content, rest, "mean ± deviation over seeds")


def metric_table(
    section: Section,
    content: Content,
    keys: Sequence[str],
    caption: str,
    words: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Add a table of metrics, a line a row, with columns of words behind them."""
    tops = {key: best(content.all, key) for key in keys}
    lines: list[list[Cell | str]] = []
    for index, (name, row) in enumerate(content.rows.items()):
        line: list[Cell | str] = [name, Cell(str(len(row.members)))]
        for key in keys:
            number, _, hint = text(row, key).partition("\n")
            line.append(Cell(number, is_best(row, key, tops), hint))
        lines.append([*line, *(values[index] for values in (words or {}).values())])
    titles = ["run", "seeds", *(head(key, content.all) for key in keys), *(words or {})]
    section.table(titles, lines, caption, content.looks)


def gains(page: Page, content: Content) -> None:
    """Show how much better each task is than in the baseline."""
    shown = {n: row for n, row in content.rows.items() if row.gains and not row.is_baseline}
    tasks = [t for t in [GAIN, *content.heads] if any(t in row.gains for row in shown.values())]
    if not shown:
        return
    base = ", ".join(row.name for row in content.all if row.is_baseline)
    section = page.section(f"Gain over {base}", GAIN_WORDS)
    if len(shown) <= MAX_BARS:
        section.chart(charts.gains(shown, tasks, content.looks), "Relative gain of each task")
    else:
        figures = {task: charts.ranking(shown, task, content.looks) for task in tasks}
        section.chart({"all tasks": figures.pop(GAIN), **figures}, "Relative gain")
    lines: list[list[Cell | str]] = []
    for name, row in shown.items():
        tops = {t: max(r.gains[t].value for r in shown.values() if t in r.gains) for t in tasks}
        cells = [gain_cell(row, task, tops[task] if len(shown) > 1 else None) for task in tasks]
        lines.append([name, *cells])
    names = ["\u0394m" if task == GAIN else task for task in tasks]
    section.table(["run", *names], lines, f"Relative gain over {base}", content.looks)


def gain_cell(row: Row, task: str, top: float | None) -> Cell:
    """Write a gain, and how sure it is."""
    if task not in row.gains:
        return Cell("-")
    gain = row.gains[task]
    pairs = gain.by_seed.values()
    spread = f" ± {100 * stdev(pairs):.2f}" if len(pairs) > 1 else ""
    sure = " ".join(filter(None, [sureness(gain), f"(n = {len(pairs)})"]))
    return Cell(percent(gain.value) + spread, gain.value == top, sure)


def configuration(page: Page, content: Content) -> None:
    """Show the parameters in which the rows differ."""
    params = differing(content.all)
    section = page.section("What differs in the configuration")
    if not params:
        section.text("Nothing.")
        return
    columns = [[value or "\u2013" for value in values] for values in params.values()]
    lines = [list(line) for line in zip(content.rows, *columns, strict=True)]
    section.table(["run", *params], lines, "", content.looks)
    key = GAIN if any(row.gains for row in content.all) else MEAN_GAIN
    if sum(key in row.metrics for row in content.all) >= MIN_ROWS:
        names = [name for name in params if name != SEED]
        figures = {n: charts.by_parameter(content.rows, n, key, content.looks) for n in names}
        section.chart(figures, "Mean gain by parameter")


def run_table(section: Section, content: Content) -> None:
    """Show each single run with what finds it again."""
    lines: list[list[Cell | str]] = []
    for name, row in content.rows.items():
        for run in sorted(row.members, key=lambda run: (len(run.seed), run.seed)):
            started = datetime.fromtimestamp(run.started / 1000, UTC)
            cost = f"{run.metrics[COST]:.3g}" if COST in run.metrics else "-"
            tags = [run.tags.get(key, "")[:12] for key in ("device", "world_size", "git_commit")]
            words = [run.seed, run.status, f"{started:%Y-%m-%d %H:%M}"]
            lines.append([name, *words, Cell(cost), *tags, run.run_ids[0]])
    titles = ["run", "seed", "status", "started (UTC)", head(COST, content.all)]
    titles += ["device", "processes", "commit", "MLflow id"]
    section.table(titles, lines, "", content.looks)
