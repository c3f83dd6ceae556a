"""Evaluate a run: the metrics of one of its checkpoints on one split."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.config import JobConfig, load
from job.predict import check_options
from job.runtime import Runtime, run_command
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from job.checkpoint import Checkpoints

USAGE = """
usage: python job/evaluate.py RUN_DIR [split=test] [checkpoint=best] [json=FILE] [key.path=value]
       torchrun --nproc_per_node=N job/evaluate.py RUN_DIR ...

Print the metrics of a trained run. It evaluates as the run itself did, so the numbers are the same.

  split=train|val|test          default test
  checkpoint=best|last|STEP     default best
  json=FILE                     writes metrics, and why some are undefined, for scripts
  key.path=value                changes the configuration, as in training:
                                evaluate.num_neighbors=all takes all neighbours
"""
OWN = ("split", "checkpoint", "json")
SPLITS = ("train", "val", "test")


def main(argv: list[str]) -> None:
    """Read the run's configuration, then evaluate."""
    starts = tuple(f"{name}=" for name in OWN)
    own = dict(arg.split("=", 1) for arg in argv if arg.startswith(starts))
    rest = [arg for arg in argv if not arg.startswith(starts)]
    places = [arg for arg in rest if "=" not in arg]
    split = own.get("split", "test")
    if len(places) != 1 or not (Path(places[0]) / "config.yaml").is_file():
        found = " ".join(places) or "nothing"
        raise ConfigError(f"expected one run directory (it holds a config.yaml), found {found}")
    if split not in SPLITS:
        raise ConfigError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
    overrides = [arg for arg in rest if "=" in arg]
    check_options(overrides, OWN)
    config = load([str(Path(places[0]) / "config.yaml"), *overrides])
    config = replace(config, run=replace(config.run, dir=Path(places[0])))
    with Runtime(config.train.precision) as runtime:
        summary = evaluate_run(config, runtime, split, own.get("checkpoint", "best"))
        if file := own.get("json"):
            runtime.on_main(lambda: Path(file).write_text(json.dumps(summary, indent=2) + "\n"))


def evaluate_run(
    config: JobConfig, runtime: Runtime, split: str, checkpoint: str
) -> dict[str, Any]:
    """Evaluate one checkpoint of a run on one split, print the table, and return what it says."""
    from job.checkpoint import Checkpoints
    from job.conversion import ConversionProgress
    from job.evaluation import Evaluation
    from job.mirror import mirror
    from job.placement import placed, sharers
    from job.results import show
    from job.state import read_weights
    from mtl.graphs.cache import open_graph
    from mtl.loaders import message_types
    from mtl.models.multitask import build_model
    from mtl.tasks.bound import bind_tasks

    mirror(config.run.dir, runtime)
    with ConversionProgress() as report:
        store = open_graph(config.graph, report)
    config = placed(config, store, runtime, sharers(runtime))
    tasks = bind_tasks(config.tasks, store)
    evaluation = Evaluation(config, store, tasks, runtime)
    edge_types = message_types(config.loader.num_neighbors, store.edge_types)
    model = build_model(config.model, store, tasks, edge_types).to(runtime.dtype)
    checkpoints = Checkpoints(config.run.dir, config.checkpoint, store.fingerprint)
    read_weights(model, checkpoints.whole(step_of(checkpoint, checkpoints)))
    summary = evaluation.summary(runtime.prepare_evaluation(model), (split,))
    runtime.on_main(lambda: show(summary, split))
    return summary


def step_of(checkpoint: str, checkpoints: "Checkpoints") -> int:
    """Return the step that best, last or a number stands for."""
    if checkpoint == "best":
        return checkpoints.best()
    if checkpoint == "last":
        return int(checkpoints.newest_progress()["step"])
    if not checkpoint.isdecimal():
        raise ConfigError(f"checkpoint: expected best, last or a step, found {checkpoint!r}")
    return int(checkpoint)


if __name__ == "__main__":
    run_command(main, USAGE)
