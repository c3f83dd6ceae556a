"""What is trained alone and together: shipped configurations, their tasks, what varies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _processes import ROOT
from _trainings import Summary

ALONE = "alone"
SHARES = ("hard", "mimo", "mmoe", "cgc", "ple", "cross_stitch", "mtan", "dselect_k", "separate")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One configuration.

    Attributes:
        name: of its graph.
        config: file in job/configs.
        needs: below the folder of the data; the configuration's `graph.root` is `root` there.
        tasks: task -> its headline.
        judged: tasks that should lose nothing beside the others.
        alone_overrides: what trains one task alone; TASK and METRIC stand for it.
        alone_with: ways of sharing that a task alone is trained under, too: what their layers do
            where there is nothing to share.
        without_others: whether alone the other tasks are left out of the configuration.
        seed_overrides: what else than `run.seed` follows the seed; SEED stands for it.
        extra: overrides of all trainings; ROOT stands for the folder of the data.
        epochs: of a training that is timed.
    """

    name: str
    config: str
    needs: str
    root: str
    tasks: Mapping[str, str]
    judged: Sequence[str]
    shares: Sequence[str] = SHARES
    alone_overrides: Sequence[str] = ()
    alone_with: Sequence[str] = ()
    without_others: bool = True
    seed_overrides: Sequence[str] = ()
    extra: Sequence[str] = ()
    epochs: int = 10

    def timed(self, *, quick: bool) -> list[str]:
        """Return overrides of a training that is timed."""
        epochs = 2 if quick else self.epochs
        return [f"train.epochs={epochs}", f"evaluate.every_epochs={epochs}"]

    def alone(self, task: str, sharing: str = "hard") -> str:
        """Return the name of the trainings in which a task is alone."""
        return f"alone_{task}" if sharing == "hard" else f"alone_{sharing}_{task}"

    def systems(self) -> dict[str, dict[str, str]]:
        """Return what is compared: for each task the name of the trainings that it is read from."""
        found = {ALONE: {task: self.alone(task) for task in self.tasks}}
        for sharing in self.alone_with:
            found[f"{ALONE}, {sharing}"] = {t: self.alone(t, sharing) for t in self.tasks}
        return found | {share: dict.fromkeys(self.tasks, share) for share in self.shares}

    def command(self, name: str, data: Path, seed: int) -> list[str]:
        """Return the arguments of job/train.py for the trainings of a name."""
        config = str(ROOT / "job" / "configs" / self.config)
        common = [f"graph.root={data / self.root}", "track.mlflow=null", f"run.seed={seed}"]
        common += [override.replace("SEED", str(seed)) for override in self.seed_overrides]
        common += [override.replace("ROOT", str(data / self.root)) for override in self.extra]
        return [config, *common, *self._of(name)]

    def scores(self, task: str, summaries: Sequence[Summary]) -> list[float]:
        """Return the headline of a task on the test split, run by run."""
        return [float(s["metrics"][f"test/{task}/{self.tasks[task]}"]) for s in summaries]

    def _of(self, name: str) -> list[str]:
        if name in self.shares:
            return [f"model.sharing={{type: {name}}}"]
        ((task, sharing),) = (
            (task, sharing)
            for task in self.tasks
            for sharing in ("hard", *self.alone_with)
            if name == self.alone(task, sharing)
        )
        others = [other for other in self.tasks if other != task]
        leave = "tasks.{}=null" if self.without_others else "tasks.{}.weight=1e-9"
        chosen = [
            override.replace("TASK", task).replace("METRIC", self.tasks[task])
            for override in self.alone_overrides
        ]
        return [*map(leave.format, others), *chosen, f"model.sharing={{type: {sharing}}}"]


STUDIES = (
    Study(
        name="us_county",
        config="us_county.yaml",
        needs="us_county/counties.csv",
        root="us_county",
        tasks={
            "income": "r2",
            "bachelor": "r2",
            "unemployment": "r2",
            "margin": "r2",
            "metro": "accuracy",
            "typology": "accuracy",
        },
        judged=("income", "bachelor", "unemployment", "margin"),
        alone_with=("mmoe",),
        seed_overrides=("graph.nodes.county.split.seed=SEED",),
    ),
    Study(
        name="Cora",
        config="cora_links.yaml",
        needs="Cora/raw",
        root=".",
        tasks={"topic": "accuracy", "cites": "auroc"},
        judged=("topic",),
        shares=("hard", "mmoe", "separate"),
        alone_overrides=("evaluate.select=TASK/METRIC",),
        without_others=False,
    ),
)
