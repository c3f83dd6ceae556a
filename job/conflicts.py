"""track: a picture of how the gradients of the tasks agree, drawn from metrics.jsonl.

`python -m job.conflicts RUN_DIR` draws it again, or while a training still runs.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from job.arguments import exit_code
from job.mlflow_store import first_line
from job.record import PICTURE, parse
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORM, COSINE, SHARE, WEIGHT = (
    "conflict/norm",
    "conflict/cosine",
    "conflict/share",
    "balance/weight",
)
Points = list[tuple[int, float]]
"""Steps, and what was recorded there."""
Line = Literal["-", "--", ":"]
# Okabe and Ito's colours, told apart by all eyes; more tasks than colours get another line.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8AC00")
LINES: tuple[Line, ...] = ("-", "--", ":")
MAX_POINTS, FEW_POINTS, MAX_LETTERS = 100, 40, 18
GREY = "#DDDDDD"


def draw_or_say(run_dir: Path, say: Callable[[str], None]) -> None:
    """Draw the picture; where that fails, say so and go on."""
    try:
        draw(run_dir)
    except Exception as error:  # a picture ends no training
        say(f"warning: {run_dir / PICTURE} is not drawn: {first_line(error)}")


def draw(run_dir: Path) -> Path | None:
    """Draw what metrics.jsonl records of the tasks' gradients; nothing where it records none.

    Left the mean cosine of each pair of tasks over all records, right the curves: weights where the
    balancing has some, norms, and the share of pairs of tasks whose gradients oppose each other.

    Returns:
        The picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    series = read(run_dir / "metrics.jsonl")
    norms, weights = _below(series, NORM), _below(series, WEIGHT)
    if not norms:
        return None
    tasks = list(norms | weights)
    panels: list[tuple[str, Mapping[str, Points]]] = [("weight in the step's loss", weights)]
    panels += [("gradient norm", norms), ("pairs in conflict", _below(series, SHARE))]
    panels = [(title, curves) for title, curves in panels if curves]
    figure = Figure(figsize=(12, 6.2), dpi=120, layout="constrained")
    grid = figure.add_gridspec(len(panels), 2, width_ratios=(1.3, 1))
    _heat_map(figure.add_subplot(grid[:, 0]), *mean_cosines(series))
    styles = dict(zip(tasks, cycle([(c, line) for line in LINES for c in COLOURS]), strict=False))
    below: Axes | None = None
    for row, (title, curves) in enumerate(panels):
        below = figure.add_subplot(grid[row, 1], sharex=below)
        _curves(below, title, curves, styles)
        below.tick_params(labelbottom=row == len(panels) - 1)
    assert below is not None
    below.set_xlabel("optimizer step", fontsize=9)
    lines = [Line2D([], [], color=colour, linestyle=line) for colour, line in styles.values()]
    names = [_short(task) for task in tasks]
    figure.legend(lines, names, loc="outside right upper", fontsize=8, frameon=False)
    aside = run_dir / f".{PICTURE}"
    figure.savefig(aside, format="png")
    return aside.replace(run_dir / PICTURE)


def read(path: Path) -> dict[str, Points]:
    """Return steps and values of each metric that tells of weights and gradients."""
    series: dict[str, Points] = defaultdict(list)
    with path.open("rb") as file:
        for record in filter(None, map(parse, file)):
            for name, value in record.items():
                if name.startswith(("conflict/", f"{WEIGHT}/")) and value is not None:
                    series[name].append((record["step"], value))
    return series


def mean_cosines(
    series: Mapping[str, Points],
) -> tuple[list[str], Float[np.ndarray, "tasks tasks"]]:
    """Return tasks and the mean cosine of each two; NaN where no step had both."""
    tasks = list(_below(series, NORM))
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    np.fill_diagonal(matrix, 1)
    for pair, points in _below(series, COSINE).items():
        i, j = map(tasks.index, pair.split("/"))
        matrix[i, j] = matrix[j, i] = np.mean([value for _, value in points])
    return tasks, matrix


def _below(series: Mapping[str, Points], prefix: str) -> dict[str, Points]:
    """Return the series of a prefix, by what follows it."""
    cut = len(prefix) + 1
    return {n[cut:]: p for n, p in series.items() if n == prefix or n.startswith(f"{prefix}/")}


def _heat_map(axes: "Axes", tasks: Sequence[str], matrix: Float[np.ndarray, "tasks tasks"]) -> None:
    """Draw the cosines: red where gradients oppose each other, blue where they agree."""
    places, names = range(len(tasks)), [_short(task) for task in tasks]
    size = min(10.0, 130 / len(tasks))
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap="RdBu", vmin=-1, vmax=1)
    axes.set_facecolor(GREY)
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.tick_params(length=0, labelsize=9 if len(tasks) <= 12 else 8)
    axes.spines[:].set_visible(False)
    for i, j in np.argwhere(np.isfinite(matrix)):
        dark = abs(matrix[i, j]) > 0.6
        text = "1" if i == j else _number(matrix[i, j])
        axes.text(
            j, i, text, ha="center", va="center", size=size, color="white" if dark else "black"
        )
    axes.set_title("mean cosine of the tasks' gradients", fontsize=11)
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["-1 opposed", "0", "1 the same"], fontsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]


def _curves(
    axes: "Axes",
    title: str,
    curves: Mapping[str, Points],
    styles: Mapping[str, tuple[str, Line]],
) -> None:
    """Draw one curve for each task, or one of all of them."""
    for task, points in curves.items():
        steps, values = _thinned(points)
        colour, line = styles.get(task, ("black", "-"))
        marker = "." if len(steps) <= FEW_POINTS else ""
        axes.plot(steps, values, line, color=colour, marker=marker, linewidth=1.2)
    if title == "gradient norm":
        axes.set_yscale("log")
    if title == "pairs in conflict":
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_title(title, fontsize=11, loc="left")
    axes.tick_params(which="both", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, linewidth=0.5)


def _thinned(points: Points) -> tuple[list[float], list[float]]:
    """Return steps and values, as means of neighbours where there are more than a line shows."""
    parts = np.array_split(np.array(points, dtype=float), min(len(points), MAX_POINTS))
    steps, values = np.array([part.mean(axis=0) for part in parts]).T.tolist()
    return steps, values


def _number(cosine: float) -> str:
    """Write a cosine short enough for a cell."""
    return f"{cosine:.2f}".replace("0.", ".") if abs(cosine) >= 0.005 else "0"


def _short(name: str) -> str:
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def main(argv: list[str] | None = None) -> int:
    """Draw how the gradients of the tasks of a run agree; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m job.conflicts", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    run_dir = parser.parse_args(argv).run_dir
    return exit_code(lambda: _draw_again(run_dir))


def _draw_again(run_dir: Path) -> None:
    if not (run_dir / "metrics.jsonl").is_file():
        raise ConfigError(f"{run_dir}: not a run directory (metrics.jsonl missing)")
    print(draw(run_dir) or f"{run_dir}: nothing recorded of the tasks' gradients")


if __name__ == "__main__":
    sys.exit(main())
