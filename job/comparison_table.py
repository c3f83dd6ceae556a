"""compare: the rows as tables: in the terminal, as CSV, as JSON."""

import csv
import json
from collections import Counter
from dataclasses import asdict
from math import floor, log10
from pathlib import Path

from rich.text import Text

from job.comparison import GAIN, OTHERS, SEED, Gain, Row, best, columns, differing, heads
from job.comparison_gain import MIN_PAIRS
from job.grid import print_grid
from job.mlflow_end import COST

SPEED = "throughput/seeds_per_second"
HEADS = {
    GAIN: "\u0394m",
    "test/mean_gain": "test\nmean_gain",
    SPEED: "seeds/s",
}


def show(rows: list[Row]) -> None:
    """Print what stands for each task, all other metrics, and the parameters that differ."""
    names, params = unique_names(rows), differing(rows)
    first, rest = split(rows)
    numbers = metric_cells(rows, first)
    sizes = [[Text(str(len(row.members)))] for row in rows]
    status = [[Text(row.status.replace(", ", "\n"))] for row in rows]
    cells = [[*a, *b, *c] for a, b, c in zip(sizes, numbers, status, strict=True)]
    print_grid("run", names, ["seeds", *(head(key, rows) for key in first), "status"], cells)
    if rest:
        print_grid("run", names, [head(key, rows) for key in rest], metric_cells(rows, rest))
    if params:
        texts = [[Text(value) for value in values] for values in params.values()]
        print_grid("parameter", list(params), names, texts)


def split(rows: list[Row]) -> tuple[list[str], list[str]]:
    """Return the metrics to look at first, and the others."""
    keys, first = columns(rows), {*heads(rows).values(), *OTHERS}
    order = [GAIN, *(key for key in keys if key != GAIN)]
    return [k for k in order if k in keys and k in first], [k for k in keys if k not in first]


def metric_cells(rows: list[Row], keys: list[str]) -> list[list[Text]]:
    """Write metrics, the best value of each bold."""
    tops = {key: best(rows, key) for key in keys}
    return [
        [Text(text(row, key), style="bold" * is_best(row, key, tops)) for key in keys]
        for row in rows
    ]


def unique_names(rows: list[Row]) -> list[str]:
    """Return the names of the rows; where two share one, with the start of the run's id."""
    twice = {name for name, count in Counter(row.name for row in rows).items() if count > 1}
    return [row.name + (f" {row.run_ids[0][:6]}" if row.name in twice else "") for row in rows]


def head(key: str, rows: list[Row]) -> str:
    """Return what stands above the column of a metric."""
    if key == COST:
        on_gpus = all(row.tags.get("device", "").startswith("cuda") for row in rows)
        return "GPU-hours" if on_gpus else "process-\nhours"
    return HEADS.get(key, key.removeprefix("test/").replace("/", "\n"))


def is_best(row: Row, key: str, tops: dict[str, float | None]) -> bool:
    """Return whether a row has the best value of a metric."""
    return key in row.metrics and row.metrics[key] == tops[key]


def text(row: Row, key: str) -> str:
    """Write one number with its deviation, and how sure a gain is below it."""
    if key not in row.metrics:
        return "-"
    value, spread = row.metrics[key], row.spread.get(key)
    words = f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if key == GAIN:
        words = percent(value) + ("" if spread is None else f" ± {100 * spread:.2f}")
    elif spread is not None:
        places = decimals(spread) if key != SPEED else 0
        words = f"{value:,.{places}f} ± {spread:,.{places}f}"
    if key != GAIN:
        return words
    return f"{words}\n{'baseline' if row.is_baseline else sureness(row.gains[GAIN])}"


def decimals(spread: float) -> int:
    """Return how many decimals show two digits of a deviation."""
    return min(6, max(0, 1 - floor(log10(spread)))) if spread > 0 else 4


def percent(value: float) -> str:
    """Write a relative gain."""
    return f"{100 * value:+.2f} %".replace("-", "\u2212")


def sureness(gain: Gain) -> str:
    """Say how sure a gain is: p over the pairs of seeds, after Holm's correction."""
    if gain.p_holm is None:
        return "" if len(gain.by_seed) >= MIN_PAIRS else "too few seeds"
    return "p < .001" if gain.p_holm < 0.001 else f"p = {gain.p_holm:.3f}".replace("0.", ".")


def write_json(path: Path, rows: list[Row]) -> None:
    """Write the rows with all that is known of them, and the parameters that differ."""
    content = {"rows": [asdict(row) for row in rows], "params": differing(rows)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write one line a row: name, ids, status, metrics, deviations, p, differing parameters."""
    keys, params = columns(rows), differing(rows)
    spreads = [key for key in keys if any(key in row.spread for row in rows)]
    judged = any(GAIN in row.gains for row in rows)
    titles = ["run", "run_ids", "seeds", "status", *keys, *(f"{key} sd" for key in spreads)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*titles, *([f"{GAIN} p", f"{GAIN} p_holm"] * judged), *params])
        for index, row in enumerate(rows):
            numbers = [row.metrics.get(key) for key in keys] + [row.spread.get(k) for k in spreads]
            gain = row.gains.get(GAIN)
            sure = [gain and gain.p, gain and gain.p_holm] * judged
            values = [values[index] for values in params.values()]
            seeds = row.params.get(SEED, "")
            words = [row.name, " ".join(row.run_ids), seeds, row.status]
            writer.writerow([*words, *numbers, *sure, *values])
