"""report: whether probabilities hold, and how well they tell two classes apart."""

from typing import TYPE_CHECKING

import numpy as np

from job.report_charts import BLUE, THIN, diagonal

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


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


def area(odds: np.ndarray) -> float | None:
    """Return the area under the ROC curve; None where there is no positive or no negative."""
    negative, positive = odds
    if not negative.sum() or not positive.sum():
        return None
    below = negative.cumsum() - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))
