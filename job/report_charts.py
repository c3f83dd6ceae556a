"""report: the shapes of its charts: lines, bars, heat."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from job.page import GREY, INKS, Style
from job.report_run import Points, thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, GREEN = INKS[:3]
FEW_POINTS, MAX_LETTERS, MAX_TEXTS, MAX_TICKS = 40, 18, 20, 50
# From the ground of the page, light or dark, to blue.
COLOURS = [[0, "rgba(0,114,178,0)"], [1, "rgba(0,114,178,1)"]]
THIN = {"color": GREY, "dash": "dot", "width": 1.2}
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


def lines(
    title: str, series: Mapping[str, Points], looks: Mapping[str, Style], *, log: bool = False
) -> "Figure":
    """Draw one line a name over the steps, in its look."""
    from plotly import graph_objects as go

    figure = go.Figure()
    for name, points in series.items():
        steps, values = thinned(points)
        look = looks.get(name, Style(BLUE, "solid", "circle"))
        figure.add_scatter(
            x=steps,
            y=values,
            name=name,
            legendgroup=name,
            mode="lines+markers" if len(steps) <= FEW_POINTS else "lines",
            line={"color": look.colour, "dash": look.dash, "width": 1.8},
            marker={"size": 4, "symbol": look.symbol},
            hovertemplate="%{fullData.name}<br>step %{x}: %{y:.4g}<extra></extra>",
        )
    figure.update_xaxes(title_text="optimizer step", rangemode="tozero")
    figure.update_yaxes(title_text=title, type="log" if log else None)
    return figure


def bars(
    names: Sequence[str], values: Sequence[float], unit: str, colours: Sequence[str] | str = BLUE
) -> "Figure":
    """Draw a bar for each name, from above, with its number beside it."""
    from plotly import graph_objects as go

    bar = go.Bar(
        x=values,
        y=[*range(len(names))],
        orientation="h",
        marker_color=colours,
        text=[f"{value:.1f}{unit}" for value in values],
        textposition="outside",
        cliponaxis=False,
        customdata=names,
        hovertemplate="%{customdata}: %{x:.2f}" + unit + "<extra></extra>",
    )
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.18 * (high - low or 1)
    figure = go.Figure(bar, {"height": 70 + 30 * len(names), "bargap": 0.35})
    figure.update_xaxes(range=[low - room * (low < 0), high + room], ticksuffix=unit)
    figure.update_yaxes(autorange="reversed", showgrid=False, **ticks(names))
    return figure


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    shares: np.ndarray,
    hints: Sequence[Sequence[str]],
    titles: tuple[str, str],
) -> "Figure":
    """Draw a matrix of shares from 0 to 1: names on both sides, numbers in cells if they fit.

    Args:
        rows: Names, from above.
        columns: Names, from the left.
        shares: Of each cell; NaN where there is nothing.
        hints: What is said of a cell on hover.
        titles: Of the rows and of the columns.
    """
    from plotly import graph_objects as go

    chart = go.Heatmap(
        x=[*range(len(columns))],
        y=[*range(len(rows))],
        z=[[None if np.isnan(s) else round(float(s), 4) for s in r] for r in shares],
        customdata=hints,
        colorscale=COLOURS,
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        showscale=False,
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure = go.Figure(chart, {"height": min(640, 130 + max(len(rows), 7) * 26)})
    if max(shares.shape) <= MAX_TEXTS:
        # Plotly takes the ground for white, so that pale cells of a dark page had dark numbers.
        for colour, some in ((None, shares < 0.5), ("white", shares >= 0.5)):
            y, x = np.nonzero(some & (shares >= 0.005))
            figure.add_scatter(
                x=x.tolist(),
                y=y.tolist(),
                mode="text",
                text=[f"{100 * share:.0f}" for share in shares[y, x]],
                textfont={"color": colour},
                hoverinfo="skip",
            )
    look = {"showgrid": False, "zeroline": False, "title_standoff": 8}  # behind long names
    below = ticks(columns) if len(columns) <= MAX_TEXTS else {"showticklabels": False}
    figure.update_xaxes(title_text=titles[1], **look, **below)
    figure.update_yaxes(title_text=titles[0], autorange="reversed", **look, **ticks(rows))
    return figure


def ticks(names: Sequence[str]) -> dict[str, Any]:
    """Write names on an axis whose places are 0, 1 ...; of very many none."""
    small = len(names) > MAX_TEXTS
    shown = shortened(names) if len(names) <= MAX_TICKS else []
    return {
        "tickvals": [*range(len(shown))],
        "ticktext": shown,
        "tickfont": {"size": 8 if small else 11},
    }


def shortened(names: Sequence[str]) -> list[str]:
    """Cut names to what fits beside a chart; what all of them begin and end with goes first."""
    if len(names) > 1 and max(map(len, names)) > MAX_LETTERS:
        begin, end = shared(names), shared([name[::-1] for name in names])
        cut = [name[begin : len(name) - end] for name in names]
        names = cut if all(cut) else names
    return [short(name) for name in names]


def shared(names: Sequence[str]) -> int:
    """Return with how many letters all names begin alike."""
    letters = zip(*names, strict=False)
    return len([*takewhile(lambda these: len(set(these)) == 1, letters)])


def short(name: str) -> str:
    """Cut a name to what fits beside a chart."""
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def diagonal(figure: "Figure", low: float, high: float) -> None:
    """Draw where both axes are the same."""
    figure.add_scatter(x=[low, high], y=[low, high], mode="lines", line=THIN, hoverinfo="skip")


def histogram(figure: "Figure", counts: np.ndarray, edges: np.ndarray, **look: Any) -> None:
    """Add bars of the share of examples in each bin."""
    shares = 100 * counts / max(counts.sum(), 1)
    figure.add_bar(
        x=np.round((edges[1:] + edges[:-1]) / 2, 6).tolist(),
        y=np.round(shares, 3).tolist(),
        width=np.diff(edges).tolist(),
        customdata=[[f"{a:.3g}", f"{b:.3g}"] for a, b in pairwise(edges)],
        hovertemplate="%{customdata[0]} to %{customdata[1]}: %{y:.2f} %<extra></extra>",
        **look,
    )


def window(counts: np.ndarray, edges: np.ndarray, num: int) -> np.ndarray:
    """Return the edges of `num` equal bins over nearly all of what finer bins have counted."""
    total = np.concatenate([[0], np.cumsum(counts)]) / max(counts.sum(), 1)
    first = np.searchsorted(total, 0.005, side="right") - 1
    last = np.searchsorted(total, 0.995)
    low, high = edges[first], edges[min(int(last), len(edges) - 1)]
    return np.linspace(low, high if high > low else low + 1, num + 1)


def rebinned(counts: np.ndarray, edges: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """Return the counts of other bins; the outermost take what lies beyond them."""
    total = np.interp(wider, edges, np.concatenate([[0], np.cumsum(counts)]))
    total[0], total[-1] = 0, counts.sum()
    return np.diff(total)
