"""track: the MLflow run of a run directory, and all of it that is not a metric.

`mlflow.json` remembers: uri, experiment, name, key (a tag by which the run is found again),
run_id, offset (bytes of metrics.jsonl that were sent), params, tags.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from job.mlflow_store import absolute, open_experiment, without_password
from job.record import write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from job.track import MLflow

KEY = "graphmtl.key"
HEADLINES = "graphmtl.headlines"
ENDED = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def remember_run(
    run_dir: Path,
    target: "MLflow | None",
    name: str,
    config: dict[str, Any],
    tags: dict[str, str],
    step: int,
) -> None:
    """Write mlflow.json: the run of an earlier start is continued.

    A training that begins anew, at step 0, is a new run once MLflow has got points of the old one.
    """
    path = run_dir / "mlflow.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    params = {key[:250]: without_password(value)[:500] for key, value in leaves(config)}
    if step == 0 and (old.get("params") != params or old.get("offset", 0)):
        old = {}
    state = {
        "uri": target and absolute(target.uri),
        "experiment": target and target.experiment,
        "name": name,
        "key": old.get("key", uuid4().hex),
        "run_id": old.get("run_id"),
        "offset": min(old.get("offset", 0), (run_dir / "metrics.jsonl").stat().st_size),
        "params": params,
        "tags": tags,
    }
    write_json(path, state)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted path and value of every leaf of a configuration; a list is a leaf."""
    if isinstance(tree, dict) and (tree or not path):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield clean(path), tree if isinstance(tree, str) else json.dumps(tree, default=str)


def clean(name: str) -> str:
    """Return the name with only characters that MLflow takes."""
    return re.sub(r"[^\w.\-/ :]", "_", name)


def find_run(client: "MlflowClient", state: dict[str, Any]) -> "Run | None":
    """Return the run of an earlier attempt, even one whose answer got lost."""
    experiment_id = open_experiment(client, state["uri"], state["experiment"])
    found = client.search_runs([experiment_id], f"tags.`{KEY}` = '{state['key']}'")
    return found[0] if found else None


def make_run(client: "MlflowClient", state: dict[str, Any]) -> "Run":
    """Make the run, with the tag that finds it again."""
    experiment_id = open_experiment(client, state["uri"], state["experiment"])
    return client.create_run(experiment_id, tags={KEY: state["key"]}, run_name=state["name"])


def describe(client: "MlflowClient", run: "Run", state: dict[str, Any]) -> None:
    """Send the parameters (MLflow takes each one once) and the tags."""
    from mlflow.entities import Param, RunTag

    run_id = run.info.run_id
    params = [Param(k, v) for k, v in state["params"].items() if k not in run.data.params]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    tags = [RunTag(clean(key), value[:5000]) for key, value in state["tags"].items()]
    client.log_batch(run_id, tags=tags)


def send_files(client: "MlflowClient", run: "Run", run_dir: Path) -> None:
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
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])
    for name in ("config.yaml", "dataset.json"):
        client.log_artifact(run.info.run_id, str(run_dir / name))


def end_run(client: "MlflowClient", run_id: str | None, summary: dict[str, Any]) -> None:
    """Give the run its final status, and the headline of each task as a tag.

    That is its first metric; the loss only where it has no other.
    """
    tests = [key for key in summary.get("metrics", {}) if re.fullmatch("test/.+/.+", key)]
    tests.sort(key=lambda key: key.endswith("/loss"))
    headlines = {key.rpartition("/")[0]: clean(key) for key in reversed(tests)}
    client.set_tag(run_id, HEADLINES, json.dumps(list(headlines.values())[::-1]))
    client.set_terminated(run_id, ENDED[summary["status"]])
