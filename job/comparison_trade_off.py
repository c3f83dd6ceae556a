"""compare: two tasks against each other, and which rows no other beats in both."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from job.comparison import Row, sign, task_of
from job.page import Style

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def trade_off(
    rows: Mapping[str, Row], first: str, second: str, looks: Mapping[str, Style]
) -> "Figure":
    """Draw the rows in two metrics, the better ones right and above; none is better than a ring."""
    from plotly import graph_objects as go

    both = {n: row for n, row in rows.items() if first in row.metrics and second in row.metrics}
    points = {name: (row.metrics[first], row.metrics[second]) for name, row in both.items()}
    front = undominated(points, sign(first), sign(second))
    figure = go.Figure()
    for name, row in both.items():
        one: dict[str, Any] = {"name": name, "legendgroup": name, "mode": "markers"}
        look = looks[name]
        if row.runs:
            seeds = [run for run in row.runs if first in run.metrics and second in run.metrics]
            figure.add_scatter(
                x=[run.metrics[first] for run in seeds],
                y=[run.metrics[second] for run in seeds],
                marker={"color": look.colour, "size": 6, "opacity": 0.4, "symbol": look.symbol},
                text=[run.seed for run in seeds],
                hovertemplate="%{fullData.name}, seed %{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
                **one,
            )
        figure.add_scatter(
            x=[points[name][0]],
            y=[points[name][1]],
            marker={"color": look.colour, "size": 11, "symbol": look.symbol},
            hovertemplate="%{fullData.name}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            **one,
        )
        if name in front:
            ring = {"color": look.colour, "size": 19, "symbol": "circle-open", "line_width": 1.5}
            at = {"x": [points[name][0]], "y": [points[name][1]]}
            figure.add_scatter(**at, marker=ring, hoverinfo="skip", **one)
    for update, key in ((figure.update_xaxes, first), (figure.update_yaxes, second)):
        update(title_text=axis_title(key), autorange=None if sign(key) > 0 else "reversed")
    figure.update_layout(height=420)
    return figure


def axis_title(key: str) -> str:
    """Say task, metric, and which way is better where that is down."""
    return f"{task_of(key)} {key.rpartition('/')[2]}" + (" (less is better)" * (sign(key) < 0))


def undominated(points: Mapping[str, tuple[float, float]], first: int, second: int) -> list[str]:
    """Return the names that no other beats in one metric without losing in the other.

    Args:
        points: Both metrics of each name.
        first: 1 where more of the first metric is better, else -1.
        second: The same for the second.
    """
    signed = {name: (first * x, second * y) for name, (x, y) in points.items()}
    return [
        name
        for name, (x, y) in signed.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed.values())
    ]
