"""sweep: what came out: a table of the trials, the best command, the page of all runs."""

import shlex
from pathlib import Path

from rich.text import Text

from job.compare import main as compare
from job.grid import print_grid
from job.sweep_space import assignments
from job.sweep_trials import Trials

PAGE = "comparison.html"


def show(trials: Trials) -> None:
    """Print the trials, the best first, and the command that trains the best one again."""
    numbers = [n for n in trials.proposed() if trials.scores(n)]
    numbers.sort(key=lambda n: (trials.mean(n) is None, -trials.sign * (trials.mean(n) or 0)))
    keys = list(trials.sweep.space)
    cells = [
        [Text(_score(trials, n)), *(Text(_value(trials.values(n)[key])) for key in keys)]
        for n in numbers
    ]
    if numbers:
        names = [f"{n:03}" for n in numbers]
        print_grid("trial", names, [f"val\n{trials.score}", *keys], cells)
    if (best := trials.best()) is not None:
        words = [*trials.given, *assignments(trials.values(best))]
        print("the best one, again: python job/train.py", shlex.join(words))


def compared(trials: Trials) -> Path | None:
    """Write the page on which all runs stand side by side; None where MLflow has none of them."""
    target = trials.config.track.mlflow
    runs = [run for number in trials.proposed() for run in trials.runs(number)]
    ids = [i for run in runs if (i := trials.summary(run).get("mlflow_run_id"))]
    if target is None or not ids:
        return None
    page = trials.folder / PAGE
    where = ["--uri", target.uri, "--experiment", target.experiment]
    return page if compare([*ids, *where, "--html", str(page)]) == 0 else None


def _score(trials: Trials, number: int) -> str:
    """Write the mean over the seeds that have a score, and the deviation."""
    scores, spread = trials.scores(number), trials.spread(number)
    text = f"{sum(scores) / len(scores):.4g}" + ("" if spread is None else f" ± {spread:.2g}")
    missing = len(trials.sweep.seeds) - len(scores)
    return text + (f" ({missing} missing)" if missing else "")


def _value(value: object) -> str:
    """Write a value for a cell: a component as its type and what else is said of it."""
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(str(v) if key == "type" else f"{key}={v}" for key, v in value.items())
