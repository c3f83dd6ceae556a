"""report: what diagnoses of classes look like."""

from typing import TYPE_CHECKING, Any

import numpy as np

from job.page import Cell, Section
from job.report_charts import (
    BLUE,
    LEGEND,
    MAX_TEXTS,
    ORANGE,
    THIN,
    diagonal,
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


def reliability(facts: dict[str, list[float]], of: str) -> tuple["Figure", str]:
    """Draw what share comes true of what is said with some probability, and how often it is said.

    Whiskers are one standard error. The expected calibration error is the mean distance from the
    diagonal (Guo et al., 2017).
    """
    from plotly import graph_objects as go

    num, true, said = (np.array(facts[key], float) for key in ("num", "true", "said"))
    some = num > 0
    num, true, said = num[some], true[some], said[some]
    share, sure = true / num, said / num
    error = calibration_error(facts)
    figure = go.Figure(layout={"height": 340})
    diagonal(figure, 0, 1)
    figure.add_scatter(
        x=sure.round(4).tolist(),
        y=share.round(4).tolist(),
        error_y={
            "array": np.sqrt(share * (1 - share) / num).round(4).tolist(),
            "thickness": 1.2,
            "width": 3,
        },
        mode="lines+markers",
        line={"color": BLUE, "width": 1.8},
        customdata=num.astype(int).tolist(),
        hovertemplate="said %{x:.3f}, true %{y:.3f}<br>%{customdata:,} examples<extra></extra>",
    )
    width = 1 / len(some)
    figure.add_bar(
        x=((np.flatnonzero(some) + 0.5) * width).tolist(),
        y=num.astype(int).tolist(),
        width=width * 0.9,
        marker_color=BLUE,
        opacity=0.6,
        yaxis="y2",
        hovertemplate="%{y:,} examples<extra></extra>",
    )
    figure.update_layout(
        xaxis={"range": [0, 1], "title": f"probability of {of}", "anchor": "y2"},
        yaxis={"range": [0, 1.02], "domain": [0.32, 1], "title": "share that is true"},
        yaxis2={"domain": [0, 0.22], "title": "examples", "nticks": 3},
    )
    return figure, f"Calibration: expected error {100 * error:.1f} %"


def calibration_error(facts: dict[str, list[float]]) -> float:
    """Return the mean distance between what is said and what is true, over the examples."""
    true, said = np.array(facts["true"]), np.array(facts["said"])
    return float(np.abs(true - said).sum() / max(sum(facts["num"]), 1))


def roc(odds: list[list[int]]) -> "Figure":
    """Draw the ROC curve of the second class."""
    false, true = called(odds)
    figure = curve(false / false[-1], true / true[-1])
    diagonal(figure, 0, 1)
    return _titled(figure, "false positives, of all negatives", "true positives, of all positives")


def recall(odds: list[list[int]]) -> "Figure":
    """Draw precision against recall of the second class."""
    false, true = (numbers[1:] for numbers in called(odds))
    figure = curve(true / true[-1], true / (true + false))
    share = float(true[-1] / (true[-1] + false[-1]))
    figure.add_scatter(x=[0, 1], y=[share, share], mode="lines", line=THIN, hoverinfo="skip")
    return _titled(figure, "recall", "precision")


def called(odds: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positives, from the strictest threshold to none."""
    counts = np.array(odds)[:, ::-1]
    counts = counts[:, counts.any(0)]
    false, true = np.concatenate([[[0], [0]], counts], 1).cumsum(1).astype(float)
    return false, true


def curve(x: np.ndarray, y: np.ndarray) -> "Figure":
    """Draw a curve of two shares."""
    from plotly import graph_objects as go

    line = go.Scatter(
        x=x.round(4).tolist(),
        y=y.round(4).tolist(),
        mode="lines",
        line={"color": BLUE, "width": 1.8},
        hovertemplate="%{x:.3f}, %{y:.3f}<extra></extra>",
    )
    return go.Figure(line, {"height": 340})


def _titled(figure: "Figure", x: str, y: str) -> "Figure":
    figure.update_xaxes(range=[0, 1], title_text=x)
    figure.update_yaxes(range=[0, 1.02], title_text=y)
    return figure


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


def area(odds: np.ndarray) -> float | None:
    """Return the area under the ROC curve; None where there is no positive or no negative."""
    negative, positive = odds
    if not negative.sum() or not positive.sum():
        return None
    below = negative.cumsum() - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def f1(calls: np.ndarray) -> float | None:
    """Return F1; None where there is no positive."""
    (_, false), (missed, true) = calls
    return float(2 * true / (2 * true + false + missed)) if true + missed else None
