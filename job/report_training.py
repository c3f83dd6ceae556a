"""report: how the training went: curves, gradients, gates, time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from job.comparison import sign
from job.comparison_charts import cosines
from job.conflicts import NORM, SHARE, WEIGHT, mean_cosines
from job.page import GREY, Page, Section, Style
from job.record import GATE
from job.report_charts import LEGEND, THIN, bars, heat, lines, short
from job.report_run import Points, Run, below

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_CHARTS = 4
CURVES = """The ring is the checkpoint that was kept, the dotted line what it reaches on the test \
split."""
GRADIENTS = """Mean cosine of two tasks' gradients over the training: below 0 (red) they pull \
apart."""
GATES = "Mean weight over the validation split, in %, of what each task hears of each expert."


def learning(page: Page, run: Run, looks: Mapping[str, Style]) -> None:
    """Show the validation metric, and both losses, of each task."""
    section = Section("Learning curves").text(CURVES)
    metrics = {task: validation(run, key, looks[task]) for task, key in run.heads.items()}
    add(section, {t: f for t, f in metrics.items() if f}, "validation", MAX_CHARTS)
    found = {task: losses(run, task) for task in run.heads}
    add(section, {t: f for t, f in found.items() if f}, "loss", 1)
    norm = [(step, value) for step, value in run.series.get("train/grad_norm", []) if value > 0]
    if len(norm) > 1:
        figure = lines("norm", {"norm": norm}, {}, log=True)
        section.chart(figure, "Norm of the gradient")
    if len(section.parts) > 1:
        page.sections.append(section)


def add(section: Section, figures: "Mapping[str, Figure]", what: str, most: int) -> None:
    """Add a chart of each task; where there are more than `most`, one that shows any of them."""
    if len(figures) > most:
        section.chart(figures, what.capitalize())
        return
    for task, figure in figures.items():
        section.chart(figure, f"{task}: {what}")


def validation(run: Run, key: str, look: Style) -> "Figure | None":
    """Draw a task's metric over the training, and which checkpoint was kept."""
    name = key.replace("test/", "val/", 1)
    points = run.series.get(name, [])
    if not points:
        return None
    figure = lines(key.rpartition("/")[2], {name: points}, {name: look})
    kept = [point for point in points if point[0] == run.summary["best_step"]]
    ring = {"color": look.colour, "size": 14, "symbol": "circle-open", "line_width": 2}
    figure.add_scatter(
        x=[step for step, _ in kept],
        y=[value for _, value in kept],
        mode="markers",
        marker=ring,
        hoverinfo="skip",
    )
    test, last = run.metrics[key], max(run.summary["step"], points[-1][0])
    figure.add_scatter(x=[0, last], y=[test, test], mode="lines", line=THIN, hoverinfo="skip")
    if sign(key) < 0:
        figure.update_yaxes(title_text=f"{key.rpartition('/')[2]} (less is better)")
    return figure


def losses(run: Run, task: str) -> "Figure | None":
    """Draw the loss of a task in training and in validation."""
    keys = {"training": f"train/{task}/loss", "validation": f"val/{task}/loss"}
    found = {name: run.series[key] for name, key in keys.items() if key in run.series}
    if not found:
        return None
    looks = {
        "training": Style(GREY, "solid", "circle"),
        "validation": Style("#0072B2", "solid", "square"),
    }
    figure = lines("loss", found, looks)
    return named(figure)


def named(figure: "Figure") -> "Figure":
    """Name the lines above a chart."""
    height = 290 + 10 * len(figure.data)  # for the rows of names
    return figure.update_layout(showlegend=True, legend=LEGEND, height=height)


def gradients(page: Page, run: Run, looks: Mapping[str, Style]) -> None:
    """Show how the gradients of the tasks agree, and the weights of the balancing."""
    tasks, matrix = mean_cosines(run.series)
    weights, norms = below(run.series, f"{WEIGHT}/"), below(run.series, f"{NORM}/")
    if len(tasks) < 2:
        return
    section = page.section("Gradients of the tasks", GRADIENTS)
    cells = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    section.chart(cosines([short(task) for task in tasks], cells), "Cosine")
    if longest(weights) > 1:
        section.chart(named(lines("weight", weights, looks)), "Weight in the step's loss")
    if longest(norms) > 1:
        positive: dict[str, Points] = {
            t: [p for p in points if p[1] > 0] for t, points in norms.items()
        }
        positive = {task: points for task, points in positive.items() if points}
        section.chart(
            named(lines("norm", positive, looks, log=True)), "Norm of each task's gradient"
        )
    if len(run.series.get(SHARE, [])) > 1:
        share = [(step, 100 * value) for step, value in run.series[SHARE]]
        figure = lines("share of pairs", {"pairs": share}, {})
        figure.update_yaxes(range=[-3, 103], ticksuffix=" %")
        section.chart(figure, "Pairs of tasks in conflict")


def longest(series: Mapping[str, Points]) -> int:
    """Return how many points the longest series has."""
    return max(map(len, series.values()), default=0)


def gates(page: Page, run: Run) -> None:
    """Show what each task hears of, where the model has gates."""
    found = {tuple(key.split("/", 1)): v for key, v in below(run.metrics, f"{GATE}/").items()}
    if not found:
        return
    tasks, choices = (list(dict.fromkeys(part)) for part in zip(*found, strict=True))
    shares = np.array([[found.get((t, c), np.nan) for c in choices] for t in tasks])
    hints = [[f"{t}, {c}: {found.get((t, c), 0):.3f}" for c in choices] for t in tasks]
    figure = heat(tasks, choices, shares, hints, ("", ""))
    page.section("Experts", GATES).chart(figure, "Weight of each expert")


def resources(page: Page, run: Run) -> None:
    """Show where the time went, how fast it was, and how much memory it took."""
    summary, speed = run.summary, run.summary["throughput"]
    total = max(sum(summary["time"].values()), 1e-9)
    parts = {part: 100 * seconds / total for part, seconds in summary["time"].items()}
    parts = {part: share for part, share in parts.items() if share >= 0.05}
    order = sorted(parts, key=lambda part: -parts[part])
    page.section(
        "Time and memory",
        f"{summary['seconds']:,.1f} s since the last start, on {summary['world_size']} "
        f"process{'es' * (summary['world_size'] > 1)}: {speed['seeds_per_second']:,.0f} seeds and "
        f"{speed['edges_per_second']:,.0f} edges a second in training; at most "
        f"{summary['memory']['peak_bytes'] / 1e9:.2f} GB a process.",
    ).chart(bars(order, [parts[part] for part in order], " %"), "Where the time went")
