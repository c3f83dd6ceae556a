"""compare: the charts of the page. One colour a row, in all of them."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from statistics import stdev
from typing import TYPE_CHECKING

from job.comparison import GAIN, Row
from job.comparison_curves import Curve
from job.page import GREY, Style

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FEW_POINTS = 40
NUMBER = "%{y:.4g}"
WHISKER = {"type": "data", "color": GREY, "thickness": 1.2, "width": 3}


def curves(title: str, lines: Mapping[str, Curve], looks: Mapping[str, Style]) -> "Figure":
    """Draw one line a row over the steps, in a band from the lowest to the highest seed."""
    from plotly import graph_objects as go

    figure = go.Figure()
    for name, line in lines.items():
        look, one = looks[name], {"name": name, "legendgroup": name}
        if line.low != line.high:
            around = [*line.high, *reversed(line.low)]
            steps = [*line.steps, *reversed(line.steps)]
            band = {
                "fill": "toself",
                "fillcolor": look.colour,
                "opacity": 0.18,
                "hoverinfo": "skip",
            }
            figure.add_scatter(x=steps, y=around, mode="lines", line_width=0, **band, **one)
        figure.add_scatter(
            x=line.steps,
            y=line.mean,
            mode="lines+markers" if len(line.steps) <= FEW_POINTS else "lines",
            line={"color": look.colour, "dash": look.dash, "width": 1.8},
            marker={"size": 4, "symbol": look.symbol},
            hovertemplate=f"%{{fullData.name}}<br>step %{{x}}: {NUMBER}<extra></extra>",
            **one,
        )
    figure.update_xaxes(title_text="optimizer step", rangemode="tozero")
    figure.update_yaxes(title_text=title)
    return figure


def gains(rows: Mapping[str, Row], tasks: Sequence[str], looks: Mapping[str, Style]) -> "Figure":
    """Draw bars of the gain over the baseline, for each task; whiskers are a deviation."""
    from plotly import graph_objects as go

    figure = go.Figure()
    for name, row in rows.items():
        shown = [task for task in tasks if task in row.gains]
        spreads = [
            100 * stdev(many) if len(many := row.gains[task].by_seed.values()) > 1 else nan
            for task in shown
        ]
        figure.add_bar(
            x=["all tasks" if task == GAIN else task for task in shown],
            y=[100 * row.gains[task].value for task in shown],
            error_y={"array": spreads, **WHISKER},
            marker_color=looks[name].colour,
            marker_pattern_shape={"solid": "", "dash": "/", "dot": "."}[looks[name].dash],
            hovertemplate="%{fullData.name}<br>%{x}: %{y:+.2f} %<extra></extra>",
            name=name,
            legendgroup=name,
        )
    figure.update_layout(barmode="group", bargap=0.25 if len(rows) > 2 else 0.6)
    figure.update_yaxes(title_text="gain", ticksuffix=" %", zeroline=True)
    return figure


def ranking(rows: Mapping[str, Row], task: str, looks: Mapping[str, Style]) -> "Figure":
    """Draw the gain of many rows in one task, the best above; whiskers are a deviation."""
    from plotly import graph_objects as go

    figure = go.Figure()
    found = {name: row.gains[task] for name, row in rows.items() if task in row.gains}
    for name, gain in sorted(found.items(), key=lambda item: item[1].value):
        spread = 100 * stdev(gain.by_seed.values()) if len(gain.by_seed) > 1 else nan
        figure.add_bar(
            x=[100 * gain.value],
            y=[name],
            orientation="h",
            error_x={"array": [spread], **WHISKER},
            marker_color=looks[name].colour,
            hovertemplate="%{y}: %{x:+.2f} %<extra></extra>",
            legendgroup=name,
        )
    figure.update_layout(barmode="overlay", bargap=0.25, height=70 + 22 * max(5, len(found)))
    figure.update_xaxes(title_text="gain", ticksuffix=" %")
    figure.update_yaxes(type="category", tickmode="linear")
    return figure


def by_parameter(
    rows: Mapping[str, Row], parameter: str, key: str, looks: Mapping[str, Style]
) -> "Figure":
    """Draw a metric of each row over the value of a parameter; numbers far apart on a log axis."""
    from plotly import graph_objects as go

    figure = go.Figure()
    values = {name: row.params.get(parameter, "") or "\u2013" for name, row in rows.items()}
    numbers, scale = as_numbers([*values.values()]), 100 if key == GAIN else 1
    for name, row in rows.items():
        if key in row.metrics:
            look, value = looks[name], values[name]
            figure.add_scatter(
                x=[float(value) if numbers else value],
                y=[scale * row.metrics[key]],
                mode="markers",
                marker={"color": look.colour, "symbol": look.symbol, "size": 10},
                error_y={"array": [scale * row.spread.get(key, nan)], **WHISKER},
                hovertemplate=f"%{{fullData.name}}<br>%{{x}}: {NUMBER}<extra></extra>",
                name=name,
                legendgroup=name,
            )
    wide = numbers and min(numbers) > 0 and max(numbers) > 50 * min(numbers)
    figure.update_xaxes(
        title_text=parameter, type="log" if wide else "linear" if numbers else "category"
    )
    figure.update_yaxes(title_text="gain in %" if key == GAIN else key)
    return figure


def as_numbers(values: Sequence[str]) -> list[float]:
    """Return what the values are as numbers; nothing where one of them is none."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return []
    return numbers if all(map(isfinite, numbers)) else []


def cosines(tasks: Sequence[str], matrix: Sequence[Sequence[float | None]]) -> "Figure":
    """Draw the cosine of each two tasks: red where gradients oppose each other, blue else."""
    from plotly import graph_objects as go

    texts = [["" if value is None else cosine_text(value) for value in line] for line in matrix]
    heat = go.Heatmap(
        x=tasks,
        y=tasks,
        z=matrix,
        text=texts,
        texttemplate="%{text}" if len(tasks) <= 15 else None,
        colorscale="RdBu",
        zmin=-1,
        zmax=1,
        xgap=2,
        ygap=2,
        colorbar={"tickvals": [-1, 0, 1], "thickness": 10, "outlinewidth": 0},
        hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
    )
    figure = go.Figure(heat, {"height": 130 + max(5, len(tasks)) * 36})
    figure.update_xaxes(showgrid=False, type="category")
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    return figure


def cosine_text(value: float) -> str:
    """Write a cosine short enough for a cell."""
    return f"{value:.2f}".replace("-", "\u2212") if abs(value) >= 0.005 else "0"
