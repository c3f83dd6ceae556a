"""sweep: the trials of a sweep folder; what each of them reached stands in its run directories."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from job.comparison import sign
from job.config import JobConfig, read, tree_of
from job.record import read_json, write_json
from job.rundir import SUMMARY, differences, is_finished
from job.sweep_space import Sweep, Values, assignments
from mtl.errors import ConfigError
from mtl.plugin import dump

RECORD = "sweep.json"
DIVERGED = 76
"""The one failure that comes again if the training is started again."""


@dataclass(frozen=True)
class Run:
    """One training of a trial."""

    number: int
    seed: int
    dir: Path

    def __str__(self) -> str:
        return f"{self.number:03} seed {self.seed}"


class Trials:
    """All trials of a sweep, those that are done and those that are not.

    Args:
        config: what all of them start from.
        given: file and overrides that it was read from, as job/train.py takes them.
        sweep: what is tried.
        folder: of the sweep; run directories lie in it.

    Raises:
        ConfigError: the folder is another sweep's, or the space does not fit the configuration.
    """

    def __init__(self, config: JobConfig, given: list[str], sweep: Sweep, folder: Path) -> None:
        self.config, self.sweep, self.folder = config, sweep, folder
        self.score = sweep.score or config.evaluate.select
        self.sign = sign(self.score)
        self.parent: str | None = None
        """MLflow run that the trainings are nested in."""
        self.failed: dict[Run, int] = {}
        """Exit codes of this start."""
        self.given = given
        self._values: list[Values] = []
        self._check()
        self._resume()

    def waiting(self) -> Iterator[Run]:
        """Yield what is to be trained, each when it is asked for: tpe looks at those before."""
        for number in range(self.sweep.num_trials):
            for run in self.runs(number):
                if not self._is_over(run):
                    yield run

    def runs(self, number: int) -> list[Run]:
        """Return the trainings of a trial."""
        return [
            Run(number, seed, self.folder / f"{number:03}_seed_{seed}") for seed in self.sweep.seeds
        ]

    def values(self, number: int) -> Values:
        """Return what a trial tries; what was proposed once stays."""
        while len(self._values) <= number:
            history = [(v, self.mean(i)) for i, v in enumerate(self._values)]
            self._values.append(self.sweep.propose(len(self._values), history, self.sign))
            if (self.folder / RECORD).exists():
                self.write()
        return self._values[number]

    def name(self, number: int) -> str:
        """Return the name of a trial's runs in MLflow."""
        return f"{self.config.run.name}_{number:03}"

    def arguments(self, run: Run) -> list[str]:
        """Return the arguments of job/train.py."""
        nested = [] if self.parent is None else [f"track.mlflow.parent={self.parent}"]
        own = [f"run.name={self.name(run.number)}", f"run.seed={run.seed}", f"run.dir={run.dir}"]
        return [*self.given, *assignments(self.values(run.number)), *own, *nested]

    @property
    def num_runs(self) -> int:
        """How many trainings there are."""
        return self.sweep.num_trials * len(self.sweep.seeds)

    def num_done(self) -> int:
        """How many of them have ended and will not be started again."""
        runs = (run for number in range(self.sweep.num_trials) for run in self.runs(number))
        return sum(self._is_over(run) for run in runs)

    def score_of(self, run: Run) -> float | None:
        """Return the score of a training; None where it has none, or is not done."""
        score: float | None = self.summary(run).get("metrics", {}).get(f"val/{self.score}")
        return score

    def scores(self, number: int) -> list[float]:
        """Return the scores of those trainings of a trial that have one."""
        found = map(self.score_of, self.runs(number))
        return [score for score in found if score is not None]

    def mean(self, number: int) -> float | None:
        """Return the score of a trial; None before all of its trainings have one."""
        scores = self.scores(number)
        return fmean(scores) if len(scores) == len(self.sweep.seeds) else None

    def spread(self, number: int) -> float | None:
        """Return the standard deviation over the seeds, where there are several."""
        scores = self.scores(number)
        return stdev(scores) if len(scores) > 1 else None

    def best(self) -> int | None:
        """Return the trial of the best score."""
        means = {n: mean for n in self.proposed() if (mean := self.mean(n)) is not None}
        return max(means, key=lambda n: self.sign * means[n]) if means else None

    def proposed(self) -> range:
        """Return the trials whose values are known."""
        return range(len(self._values))

    def summary(self, run: Run) -> dict[str, Any]:
        """Return summary.json of a training that has ended well, else nothing."""
        if not is_finished(run.dir):
            return {}
        return read_json(run.dir / SUMMARY)

    def write(self) -> None:
        """Keep what the sweep is, so that the same command goes on with it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {**self._identity(), "parent": self.parent, "trials": self._values}
        write_json(self.folder / RECORD, record)

    def _is_over(self, run: Run) -> bool:
        return run in self.failed or is_finished(run.dir) or diverged(run.dir)

    def _identity(self) -> dict[str, Any]:
        return {"config": tree_of(self.config), "sweep": dump(self.sweep)}

    def _resume(self) -> None:
        path = self.folder / RECORD
        if not path.is_file():
            return
        old = read_json(path, "config", "sweep", "trials", "parent")
        new = json.loads(json.dumps(self._identity(), default=str))
        may_change = ("sweep.trials", "sweep.seeds", "sweep.score")
        different = [
            f"  {path}: {there!r} there, {here!r} here"
            for path, there, here in differences({k: old[k] for k in new}, new)
            if path not in may_change
        ]
        if different:
            raise ConfigError(
                f"--dir: {self.folder} holds another sweep; give this one a folder of its own, or "
                "delete that one:\n" + "\n".join(different)
            )
        self._values, self.parent = old["trials"], old["parent"]

    def _check(self) -> None:
        """Check values of the space against the configuration, before anything is trained."""
        if self.sweep.method == "tpe" and find_spec("optuna") is None:
            raise ConfigError("method: tpe needs Optuna, which is missing: pip install optuna")
        for key in self.sweep.space:
            if key.split(".")[0] in ("run", "track", "cluster"):
                raise ConfigError(
                    f"space.{key}: a sweep names its runs itself"
                    + ("; list seeds in `seeds:`" if key == "run.seed" else "")
                )
        mistakes = {}
        for values in self.sweep.corners():
            try:
                config = read(tree_of(self.config), assignments(values))
            except ConfigError as error:
                words = ", ".join(assignments(values))
                mistakes[str(error)] = f"space: {words}:\n  " + str(error).replace("\n", "\n  ")
                continue
            task = self.score.partition("/")[0]
            if self.score != "mean_gain" and task not in config.tasks:
                mistakes[task] = (
                    f"score: expected mean_gain or TASK/METRIC with TASK one of "
                    f"{', '.join(config.tasks)}, found {self.score!r}"
                )
        if mistakes:
            raise ConfigError("\n".join(mistakes.values()))


def diverged(run_dir: Path) -> bool:
    """Return whether a training ended with numbers that are not finite: it would do so again."""
    path = run_dir / "exit.json"
    return path.is_file() and read_json(path, "code")["code"] == DIVERGED
