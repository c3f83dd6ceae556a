"""report: what diagnoses of numbers, links and feature vectors look like."""

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from job.page import Section
from job.report_charts import (
    BLUE,
    COLOURS,
    LEGEND,
    ORANGE,
    diagonal,
    histogram,
    rebinned,
    window,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NUM_BARS = 40


def numbers(section: Section, facts: dict[str, Any]) -> None:
    """Show predictions against truths, and the errors."""
    section.chart(predicted(facts), "Predicted against true: number of examples")
    section.chart(errors(facts), "Errors; the outermost bars hold all that lie beyond")


def predicted(facts: dict[str, Any]) -> "Figure":
    """Draw how many examples there are by truth (to the right) and prediction (upwards)."""
    from plotly import graph_objects as go

    counts, (low, high) = coarse(np.array(facts["both"])), facts["range"]
    edges = np.linspace(low, high, len(counts) + 1)
    middles = [float(f"{x:.5g}") for x in (edges[1:] + edges[:-1]) / 2]
    heat = go.Heatmap(
        x=middles,
        y=middles,
        z=[[None if n == 0 else round(float(np.log10(1 + n)), 3) for n in row] for row in counts],
        zmin=0,
        customdata=counts.tolist(),
        colorscale=COLOURS,
        showscale=False,
        hovertemplate="true %{x:.4g}, predicted %{y:.4g}: %{customdata:,}<extra></extra>",
    )
    figure = go.Figure(heat, {"height": 380})
    diagonal(figure, low, high)
    figure.update_xaxes(title_text="true", range=[low, high], zeroline=False)
    figure.update_yaxes(title_text="predicted", range=[low, high], zeroline=False)
    return figure


def coarse(counts: np.ndarray) -> np.ndarray:
    """Return the counts in cells so large that there are some examples in each."""
    factor = next((f for f, most in ((4, 300), (3, 2000), (2, 20_000)) if counts.sum() < most), 1)
    size = len(counts) // factor
    return np.asarray(counts.reshape(size, factor, size, factor).sum((1, 3)))


def errors(facts: dict[str, Any]) -> "Figure":
    """Draw how often each error is made."""
    from plotly import graph_objects as go

    counts, reach = np.array(facts["errors"]), facts["reach"]
    edges = np.linspace(-reach, reach, len(counts) + 1)
    bars = window(counts, edges, NUM_BARS)
    figure = go.Figure(layout={"height": 380, "bargap": 0})
    histogram(figure, rebinned(counts, edges, bars), bars, marker_color=BLUE)
    figure.update_xaxes(title_text="predicted - true")
    figure.update_yaxes(title_text="share of examples", ticksuffix=" %")
    return figure


def links(section: Section, facts: dict[str, Any]) -> None:
    """Show the scores of edges and of pairs that are none, and the ranks of edges."""
    section.chart(scores(facts), "Scores (log-odds) of edges and of pairs that are none")
    ranks, counts = facts["ranks"], np.array(facts["at"])
    figures = {"hits": hits(ranks, counts), "ranks": places(ranks, counts)}
    section.chart(figures, f"Rank of an edge among {ranks[-1] - 1:,} candidates")


def scores(facts: dict[str, Any]) -> "Figure":
    """Draw how often each score is given to edges, and to others."""
    from plotly import graph_objects as go

    counts, edges = np.array(facts["odds"]), np.array(facts["edges"])
    bars = window(counts.sum(0), edges, NUM_BARS)
    figure = go.Figure(layout={"height": 340, "barmode": "overlay", "bargap": 0})
    for name, colour, own in zip(("none", "edge"), (ORANGE, BLUE), counts, strict=True):
        look = {"name": name, "marker_color": colour, "opacity": 0.6}
        histogram(figure, rebinned(own, edges, bars), bars, **look)
    figure.update_layout(showlegend=True, legend=LEGEND)
    figure.update_xaxes(title_text="score")
    figure.update_yaxes(title_text="share of pairs", ticksuffix=" %")
    return figure


def hits(ranks: list[int], counts: np.ndarray) -> "Figure":
    """Draw the share of edges that are among the first k."""
    from plotly import graph_objects as go

    share = counts.cumsum() / max(counts.sum(), 1)
    line = go.Scatter(
        x=ranks,
        y=share.round(4).tolist(),
        mode="lines",
        line={"color": BLUE, "width": 1.8},
        hovertemplate="among the first %{x}: %{y:.3f}<extra></extra>",
    )
    figure = go.Figure(line, {"height": 340})
    figure.update_xaxes(type="log", title_text="k", dtick="D2")
    figure.update_yaxes(range=[0, 1.02], title_text="edges among the first k")
    return figure


def places(ranks: list[int], counts: np.ndarray) -> "Figure":
    """Draw how many edges have which rank."""
    from plotly import graph_objects as go

    tens = [10**e * m for e in range(7) for m in (1, 2, 5)]
    ends = sorted({*(t for t in tens if t in ranks), ranks[-1]})
    cuts = [0, *(bisect_left(ranks, end) + 1 for end in ends)]
    share = [counts[a:b].sum() / max(counts.sum(), 1) for a, b in pairwise(cuts)]
    names = [str(b) if a + 1 == b else f"{a + 1}-{b}" for a, b in pairwise([0, *ends])]
    bar = go.Bar(
        x=names,
        y=[round(100 * s, 3) for s in share],
        marker_color=BLUE,
        hovertemplate="rank %{x}: %{y:.2f} %<extra></extra>",
    )
    figure = go.Figure(bar, {"height": 340})
    figure.update_xaxes(type="category", title_text="rank")
    figure.update_yaxes(title_text="share of edges", ticksuffix=" %")
    return figure


def vectors(section: Section, facts: dict[str, Any]) -> None:
    """Show how close in direction predicted features are."""
    from plotly import graph_objects as go

    counts = np.array(facts["cosines"])
    edges = np.linspace(-1, 1, len(counts) + 1)
    bars = window(counts, edges, NUM_BARS)
    figure = go.Figure(layout={"bargap": 0})
    histogram(figure, rebinned(counts, edges, bars), bars, marker_color=BLUE)
    figure.update_xaxes(title_text="cosine of predicted and true features")
    figure.update_yaxes(title_text="share of nodes", ticksuffix=" %")
    section.chart(figure, "How close in direction predictions are")
