"""report: what diagnoses of classes look like."""

from typing import TYPE_CHECKING, Any

import numpy as np

from job.page import Cell, Section
from job.report_chances import area, recall, reliability, roc
from job.report_charts import (
    BLUE,
    LEGEND,
    MAX_TEXTS,
    ORANGE,
    heat,
    ticks,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NUM_PAIRS, MAX_COLUMNS = 10, 30
LIKELIEST = "the likeliest class"


def classes(section: Section, facts: dict[str, Any]) -> None:
    """Show which classes are taken for which, whether probabilities hold, and curves of two."""
    counts, names = np.array(facts["confusion"]), facts["classes"]
    section.chart(confusion(counts, names), "Confusion matrix: % of each true class")
    is_binary = "odds" in facts
    of = f"“{names[1]}”" if is_binary else LIKELIEST
    section.chart(*reliability(facts["reliability"], of))
    if is_binary and counts.sum(1).all():
        curves = {"ROC curve": roc(facts["odds"]), "precision and recall": recall(facts["odds"])}
        section.chart(curves, f"Telling {of} apart")
    elif is_binary:
        section.text("All examples are of one class: there are no ROC and no precision curves.")
    if len(names) > MAX_TEXTS:
        confused_most(section, counts, names)


def confusion(counts: np.ndarray, names: list[str]) -> "Figure":
    """Draw a confusion matrix, each row as shares of its true class."""
    total = counts.sum(1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    hints = [
        [f"{a}, taken for {b}: {counts[i, j]:,} of {total[i, 0]:,}" for j, b in enumerate(names)]
        for i, a in enumerate(names)
    ]
    return heat(names, names, shares, hints, ("true", "taken for"))


def confused_most(section: Section, counts: np.ndarray, names: list[str]) -> None:
    """List the classes that are most often taken for others."""
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:NUM_PAIRS]
    pairs = [divmod(int(place), len(counts)) for place in order]
    rows: list[list[Cell | str]] = [
        [
            names[i],
            names[j],
            Cell(f"{wrong[i, j]:,}"),
            Cell(f"{100 * wrong[i, j] / counts[i].sum():.0f} %"),
        ]
        for i, j in pairs
        if wrong[i, j]
    ]
    if rows:
        heads = ["true", "taken for", "examples", "of the true class"]
        section.table(heads, rows, "Taken for another most often")


def columns(section: Section, facts: dict[str, Any]) -> None:
    """Show how well each column is told, and whether probabilities hold."""
    from plotly import graph_objects as go

    calls, odds = np.array(facts["calls"]), np.array(facts["odds"])
    known, positive = calls.sum((1, 2)), calls[:, 1].sum(1)
    order = np.argsort(-positive, kind="stable")[:MAX_COLUMNS]
    names = [facts["columns"][i] for i in order]
    hints = [f"{facts['columns'][i]}: {positive[i]:,} of {known[i]:,}" for i in order]
    figure = go.Figure(layout={"height": 110 + 20 * max(len(order), 8), "showlegend": True})
    for title, colour, symbol, values in (
        ("area under ROC", BLUE, "circle", [area(odds[i]) for i in order]),
        ("F1 at 0.5", ORANGE, "diamond", [f1(calls[i]) for i in order]),
    ):
        figure.add_scatter(
            x=values,
            y=[*range(len(order))],
            name=title,
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 8},
            customdata=hints,
            hovertemplate="%{customdata}<br>%{fullData.name} %{x:.3f}<extra></extra>",
        )
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(autorange="reversed", zeroline=False, **ticks(names))
    figure.update_yaxes(tickfont={"size": 10})
    figure.update_layout(legend=LEGEND)
    section.chart(figure, f"Each column{' (the most frequent)' * (len(known) > len(order))}")
    section.chart(*reliability(facts["reliability"], "a column"))


def f1(calls: np.ndarray) -> float | None:
    """Return F1; None where there is no positive."""
    (_, false), (missed, true) = calls
    return float(2 * true / (2 * true + false + missed)) if true + missed else None
