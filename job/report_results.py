"""report: what each task reached, beside guessing, a task of its own, and the best there is."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from job.comparison import GAIN, Row
from job.comparison_gain import add_gains
from job.mlflow_run import leaves
from job.page import Cell, Page, Style
from job.report_charts import bars
from job.report_run import Run, below

REDUCTION = """How much of the loss of the trivial predictor, which reads no feature, is gone: \
100 % is perfect, below 0 % is worse than guessing."""
SINGLE = """Over the same task trained alone, relative to its result there; positive is better, \
for errors too. All tasks: their mean, Delta_m (Maninis et al., 2019)."""


def results(page: Page, run: Run, singles: Sequence[Run], looks: Mapping[str, Style]) -> None:
    """Show every metric of the test split."""
    confidence, undefined = (run.summary.get(key) or {} for key in ("confidence", "undefined"))
    reachable = run.summary["best_reachable"]
    heads = ["task", "metric", "trivial"]
    heads += ["trained alone"] * bool(singles) + ["result"]
    level = run.config["evaluate"].get("confidence") or 0
    heads += [f"{100 * level:g} % interval"] * bool(confidence)
    heads += ["best reachable"] * any(reachable.values())
    rows: list[list[Cell | str]] = []
    for task in run.tasks:
        first = run.heads.get(task)
        own = below(run.metrics, f"test/{task}/")
        trivial = below(run.metrics, f"trivial/{task}/")
        lacking = below(undefined, f"test/{task}/")
        names = [name for name in dict.fromkeys([*own, *trivial, *lacking]) if "/" not in name]
        names.sort(key=lambda n: (f"test/{task}/{n}" != first, n == "loss"))
        for name in names:
            key = f"test/{task}/{name}"
            row: list[Cell | str] = [task, name, number(trivial.get(name))]
            if singles:
                value = alone(singles, key)
                row.append(Cell("" if value is None else text(value)))
            result = number(own.get(name)).text
            row.append(Cell(result, best=key == first, hint=lacking.get(name, "")))
            if confidence:
                low, high = confidence.get(key, (None, None))
                row.append(Cell("" if low is None else f"{text(low)} to {text(high)}"))
            if any(reachable.values()):
                best = reachable.get(task, {}).get(name)
                row.append(Cell("" if best is None else text(best)))
            rows.append(row)
    caption = "Test split; the first metric of each task in bold"
    page.section("Results").table(heads, rows, caption, looks)


def reductions(page: Page, run: Run, looks: Mapping[str, Style]) -> None:
    """Show how much of the trivial predictor's loss each task has got rid of."""
    gains = {}
    for task in run.heads:
        own, trivial = (run.metrics.get(f"{s}/{task}/loss") for s in ("test", "trivial"))
        if own is not None and trivial:
            gains[task] = 100 * (1 - own / trivial)
    if gains:
        colours = [looks[task].colour for task in gains]
        figure = bars([*gains], [*gains.values()], " %", colours)
        caption = f"Loss that is gone, mean {fmean(gains.values()):.1f} %"
        page.section("Better than guessing", REDUCTION).chart(figure, caption)


def over_single(page: Page, run: Run, singles: Sequence[Run]) -> None:
    """Show the gain of each task over a training of its own."""
    if not singles:
        return
    row = row_of(run)
    add_gains([row], [row_of(single) for single in singles])
    gains = {task: 100 * gain.value for task, gain in row.gains.items() if task != GAIN}
    section = page.section("Better than trained alone", SINGLE)
    if not gains:
        section.text("No baseline has a task in common with this run.")
        return
    names, values = ["all tasks", *gains], [100 * row.gains[GAIN].value, *gains.values()]
    section.chart(bars(names, values, " %"), "Gain over the task alone")


def alone(singles: Sequence[Run], key: str) -> float | None:
    """Return the mean of a metric over the runs of that task alone."""
    values = [run.metrics[key] for run in singles if key in run.metrics]
    return fmean(values) if values else None


def row_of(run: Run) -> Row:
    """Return a run as comparisons know it."""
    return Row(
        name=run.name,
        run_ids=[],
        status=run.summary["status"],
        metrics={**run.metrics},
        params=dict(leaves(run.config)),
        headlines=[*run.heads.values()],
    )


def number(value: float | None) -> Cell:
    """Write a number as tables do."""
    return Cell("undefined" if value is None else text(value))


def text(value: float) -> str:
    """Write four digits: those behind the point of a small number, the first of a large one."""
    if abs(value) < 1:
        return f"{value:z.4f}"
    return f"{value:#.4g}" if abs(value) < 1000 else f"{value:,.0f}"
