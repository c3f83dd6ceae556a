"""compare: the sections of the page that show how trainings went, and which tasks compete."""

from collections.abc import Iterable, Mapping
from itertools import combinations

from job import comparison_charts as charts
from job.comparison import Row, sign, task_of
from job.comparison_content import Content, validation
from job.comparison_curves import best_and_last, curve, overall
from job.comparison_trade_off import trade_off
from job.conflicts import COSINE, WEIGHT
from job.page import Cell, Page, Section

MAX_PAIRS = 66
CURVE_WORDS = """Lines are means over the seeds, bands go from the lowest to the highest. At most \
200 points of each are shown, the first and the last among them."""
TRADE_OFF_WORDS = """Right and above is better. A ring: no other run is better in one of the two \
tasks without being worse in the other. Small marks are single seeds."""
CONFLICT_WORDS = """Mean cosine of two tasks' gradients over the training and the seeds: below 0 \
(red) they pull apart, 0 is neither for nor against each other."""


def learning(page: Page, content: Content) -> None:
    """Show validation metric and training loss of each task over the steps."""
    section = Section("Learning curves").text(CURVE_WORDS)
    empty = len(section.parts)
    add_curves(section, content, map(validation, content.heads.values()))
    reached(section, content)
    add_curves(section, content, (f"train/{task}/loss" for task in content.heads))
    if len(section.parts) > empty:
        page.sections.append(section)


def weights(page: Page, content: Content) -> None:
    """Show the weights that balancing gave the tasks."""
    section = Section("Weights over time")
    add_curves(section, content, (f"{WEIGHT}/{task}" for task in content.heads))
    if section.parts:
        page.sections.append(section)


def add_curves(section: Section, content: Content, keys: Iterable[str]) -> None:
    """Add the chart of each metric that any row has logged."""
    for key in keys:
        found = {name: curve(content.histories, row, key) for name, row in content.rows.items()}
        lines = {name: line for name, line in found.items() if line is not None}
        if lines:
            label = "weight" if key.startswith(WEIGHT) else key.rpartition("/")[2]
            section.chart(charts.curves(label, lines, content.looks), key)


def reached(section: Section, content: Content) -> None:
    """Show what validation reached at its best, and at the end."""
    keys = [validation(key) for key in content.heads.values()]
    values = {
        (name, key): best_and_last(content.histories, row, key)
        for name, row in content.rows.items()
        for key in keys
    }
    if not any(values.values()):
        return
    lines: list[list[Cell | str]] = []
    for name in content.rows:
        cells: list[Cell | str] = []
        for key in keys:
            mine = values[name, key]
            others = [other for n in content.rows if (other := values[n, key])]
            for which in range(2):
                top = max((sign(key) * other[which] for other in others), default=None)
                is_best = mine is not None and len(others) > 1 and sign(key) * mine[which] == top
                cells.append(Cell("-") if mine is None else Cell(f"{mine[which]:.4g}", is_best))
        lines.append([name, *cells])
    names = [key.removeprefix("val/").replace("/", "\n") for key in keys]
    titles = [f"{name}\n{which}" for name in names for which in ("best", "last")]
    caption = "Validation: best and last value of the training, means over seeds"
    section.table(["run", *titles], lines, caption, content.looks)


def trade_offs(page: Page, content: Content) -> None:
    """Show any two tasks against each other."""
    figures = {}
    for one, other in list(combinations(content.heads.values(), 2))[:MAX_PAIRS]:
        if sum({one, other} <= row.metrics.keys() for row in content.all) > 1:
            name = f"{task_of(one)} and {task_of(other)}"
            figures[name] = trade_off(content.rows, one, other, content.looks)
    if figures:
        page.section("Trade-off of two tasks", TRADE_OFF_WORDS).chart(figures, "Tasks")


def conflicts(page: Page, content: Content) -> None:
    """Show how the gradients of the tasks agree, in each row."""
    means = {name: cosines(content, row) for name, row in content.rows.items()}
    figures = {}
    for name, pairs in means.items():
        named = {task for pair in pairs for task in pair}
        tasks = [*(t for t in content.heads if t in named), *sorted(named - content.heads.keys())]
        matrix = [[pairs.get((a, b), pairs.get((b, a))) for b in tasks] for a in tasks]
        if pairs:
            figures[name] = charts.cosines(tasks, matrix)
    if figures:
        page.section("Conflicts between tasks", CONFLICT_WORDS).chart(figures, "Cosine")


def cosines(content: Content, row: Row) -> Mapping[tuple[str, str], float | None]:
    """Return the mean cosine of each two tasks."""
    prefix = f"{COSINE}/"
    keys = [key for key in row.metrics if key.startswith(prefix)]
    pairs = {key: key.removeprefix(prefix).partition("/") for key in keys}
    return {(a, b): overall(content.histories, row, key) for key, (a, _, b) in pairs.items()}
