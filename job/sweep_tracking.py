"""sweep: the MLflow run that the runs of a sweep are nested in."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from job.mlflow_run import KEY, clean
from job.mlflow_sink import send_run
from job.mlflow_store import first_line, open_client, open_experiment
from job.record import read_json
from job.redaction import without_secrets
from job.sweep_trials import Trials
from mtl.errors import UserError


def open_parent(trials: Trials) -> str | None:
    """Make the run where there is none yet; return what to tell people if that fails.

    A sweep goes on without: its own folder holds all that is known.
    """
    target = trials.config.track.mlflow
    if target is None or trials.parent is not None:
        return None
    space = {f"space.{key}": json.dumps(v, default=vars) for key, v in trials.sweep.space.items()}
    options = {"method": trials.sweep.method, "score": trials.score, **space}
    try:
        client = open_client(target.uri)
        experiment = open_experiment(client, target.uri, target.experiment)
        tags = {KEY: str(trials.folder), "graphmtl.sweep": trials.sweep.method}
        run = client.create_run(experiment, tags=tags, run_name=trials.folder.name)
        for key, value in options.items():
            client.log_param(run.info.run_id, clean(key)[:250], value[:500])
    except Exception as error:  # whatever a store answers
        uri = without_secrets(target.uri)
        return f"{uri} does not take the sweep, its runs are not nested: {first_line(error)}"
    trials.parent = run.info.run_id
    trials.write()
    return None


def catch_up(trials: Trials) -> None:
    """Send what MLflow has not got of runs that had no time for it: those that failed, say."""
    for number in trials.proposed():
        for run in trials.runs(number):
            if _unsent(run.dir):
                with suppress(UserError):  # the training has said so itself
                    send_run(run.dir, None, None)


def close_parent(trials: Trials, page: Path | None) -> str | None:
    """Tell the run the best score and the page; return what to tell people if that fails."""
    target, best = trials.config.track.mlflow, trials.best()
    if target is None or trials.parent is None:
        return None
    found: dict[str, Any] = {} if best is None else {"best": trials.name(best)}
    try:
        client = open_client(target.uri)
        if best is not None and (mean := trials.mean(best)) is not None:
            client.log_metric(trials.parent, f"best/{trials.score}", mean)
        for key, value in found.items():
            client.set_tag(trials.parent, f"graphmtl.{key}", value)
        if page is not None:
            client.log_artifact(trials.parent, str(page))
        client.set_terminated(trials.parent, "FINISHED", int(1000 * time.time()))
    except Exception as error:  # whatever a store answers
        return f"{without_secrets(target.uri)} did not take the results: {first_line(error)}"
    return None


def _unsent(run_dir: Path) -> bool:
    """Return whether MLflow lacks some points of a run, or all of it."""
    path, metrics = run_dir / "mlflow.json", run_dir / "metrics.jsonl"
    if not path.is_file() or not metrics.is_file():
        return False
    state = read_json(path, "run_id", "offset", "uri")
    missing = state["run_id"] is None or state["offset"] < metrics.stat().st_size
    return state["uri"] is not None and missing
