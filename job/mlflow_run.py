"""track: the MLflow run of a run directory, and all of it that is not a metric.

`mlflow.json` remembers: uri, experiment, name, key (a tag by which the run is found again),
run_id, started, offset (bytes of metrics.jsonl that were sent), params, tags.
"""

import json
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from job.mlflow_store import NO_MLFLOW, StoreError, absolute, open_experiment
from job.record import read_json, unfit, write_json
from job.redaction import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from job.track import MLflow

KEY = "graphmtl.key"
# Options that say where a run is kept, not what it computes.
PLACES = ("run.name", "run.dir", "track.", "cluster")
TYPES = ("model.encoder", "model.sharing", "balancing")


def remember_run(
    run_dir: Path,
    target: "MLflow | None",
    name: str,
    config: dict[str, Any],
    tags: dict[str, str],
    step: int,
) -> dict[str, Any]:
    """Write mlflow.json, and return what it holds: the run of an earlier start is continued.

    A training that begins anew, at step 0, is a new run once MLflow has got points of the old one.
    """
    path = run_dir / "mlflow.json"
    old = read_json(path) if path.exists() else {}
    params = {key[:250]: without_secrets(value)[:500] for key, value in leaves(config)}
    if step == 0 and (old.get("params") != params or old.get("offset", 0)):
        old = {}
    with unfit(path):
        offset = min(int(old.get("offset", 0)), (run_dir / "metrics.jsonl").stat().st_size)
    state = {
        "uri": target and absolute(target.uri),
        "experiment": target and target.experiment,
        "name": name,
        "key": old.get("key", uuid4().hex),
        "run_id": old.get("run_id"),
        "started": old.get("started", time.time()),
        "offset": offset,
        "params": params,
        "tags": tags,
    }
    write_json(path, state)
    return state


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted path and value of every leaf of a configuration; a list is a leaf."""
    if isinstance(tree, dict) and (tree or not path):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield clean(path), tree if isinstance(tree, str) else json.dumps(tree, default=str)


def clean(name: str) -> str:
    """Return the name as MLflow takes it: without some characters, and not too long."""
    return re.sub(r"[^\w.\-/ :]", "_", name)[:250]


def find_run(client: "MlflowClient", state: dict[str, Any]) -> "Run | None":
    """Return the run of an earlier attempt, even one whose answer got lost.

    A frozen store makes a run when it wakes up, after another has been made: that one stays
    empty, and goes.
    """
    experiment_id = open_experiment(client, state["uri"], state["experiment"])
    found = client.search_runs([experiment_id], f"tags.`{KEY}` = '{state['key']}'")
    found.sort(key=lambda run: (run.info.run_id != state["run_id"], run.info.run_id))
    for late in found[1:]:
        if not late.data.metrics:
            client.delete_run(late.info.run_id)
    return found[0] if found else None


def make_run(client: "MlflowClient", state: dict[str, Any]) -> "Run":
    """Make the run, with the tag that finds it again."""
    experiment_id = open_experiment(client, state["uri"], state["experiment"])
    started = round(1000 * state.get("started", time.time()))
    run = client.create_run(experiment_id, started, {KEY: state["key"]}, state["name"])
    if not run.info.run_id:
        raise StoreError(NO_MLFLOW)
    return run


def describe(client: "MlflowClient", run: "Run", state: dict[str, Any]) -> None:
    """Send the parameters (MLflow takes each one once) and the tags.

    Names and places are no parameters: runs that differ in nothing else are the same.
    """
    from mlflow.entities import Param, RunTag

    options = {k: v for k, v in state["params"].items() if not k.startswith(PLACES)}
    params = [Param(k, v) for k, v in options.items() if k not in run.data.params]
    tasks = dict.fromkeys(k.split(".")[1] for k in options if k.startswith("tasks."))
    types = {part: options[f"{part}.type"] for part in TYPES if f"{part}.type" in options}
    said = {"run_dir": state["params"].get("run.dir", ""), "tasks": ", ".join(tasks), **types}
    texts = {key: text for key, text in said.items() if text} | state["tags"]
    tags = [RunTag(clean(key), text[:5000]) for key, text in texts.items()]
    client.log_batch(run.info.run_id, params=params, tags=tags)


def send_files(client: "MlflowClient", run_id: str | None, run_dir: Path) -> None:
    """Send the configuration and the dataset card, the card as the run's dataset too."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    card = (run_dir / "dataset.json").read_text(encoding="utf-8")
    dataset = Dataset(
        name=str(json.loads(card).get("name", "graph"))[:500],
        digest=sha256(card.encode()).hexdigest()[:12],
        source_type="graph",
        source=json.dumps({"run_dir": str(run_dir)}),
        profile=card,
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])
    for name in ("config.yaml", "dataset.json"):
        client.log_artifact(run_id, str(run_dir / name))
