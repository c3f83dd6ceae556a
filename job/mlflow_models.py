"""track: an exported model -> MLflow, as a model of its run, and as a version where it is asked."""

from pathlib import Path
from typing import TYPE_CHECKING

from job.mlflow_store import StoreError, first_line, open_client
from job.record import read_json
from job.redaction import without_secrets
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

MODEL = "model"
"""Name of the model in its run, and of its folder in the run directory."""
STEP = "step"
REGISTER = "register"
"""What a model says of itself: the name in the registry that it becomes a version of, or None."""
UUID = "graphmtl.uuid"
"""A tag by which a model is found again."""


def run_of(run_dir: Path) -> tuple[str, str]:
    """Return the store and the id of the MLflow run of a run directory.

    Raises:
        ConfigError: MLflow has not got it.
    """
    path = run_dir / "mlflow.json"
    state = read_json(path) if path.is_file() else {}
    if not state.get("run_id"):
        raise ConfigError(
            f"register: MLflow has not got {run_dir}; send it first: python -m job.track {run_dir}"
        )
    return state["uri"], state["run_id"]


def send_model_of(run_dir: Path, folder: Path) -> str:
    """Send a model to the MLflow run of a run directory; say what was done.

    Raises:
        ConfigError: MLflow has not got that run.
        StoreError: the store cannot be reached or does not take it.
    """
    uri, run_id = run_of(run_dir)
    place = without_secrets(uri)
    try:
        said = send_model(open_client(uri), run_id, folder)
    except Exception as error:  # whatever a store answers
        raise StoreError(f"{place} did not take the model: {first_line(error)}") from error
    return f"{said} at {place}"


def send_model(client: "MlflowClient", run_id: str, folder: Path) -> str:
    """Send a model, and register it if it says so, unless that was done before.

    Args:
        client: of the store.
        run_id: of the run that made the model.
        folder: of the model.

    Returns:
        Its address in MLflow.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    model = Model.load(folder)
    experiments = [client.get_run(run_id).info.experiment_id]
    wanted = f"source_run_id = '{run_id}' AND tags.`{UUID}` = '{model.model_uuid}'"
    found = client.search_logged_models(experiments, wanted)
    if found:
        sent = found[0]
    else:
        tags = {UUID: model.model_uuid}
        sent = client.create_logged_model(experiments[0], MODEL, run_id, tags)
        client.log_outputs(run_id, [LoggedModelOutput(sent.model_id, model.metadata[STEP])])
    if sent.status != "READY":  # it is new, or its sender was stopped
        model.run_id, model.model_id = run_id, sent.model_id
        model.save(str(folder / "MLmodel"))
        client.log_model_artifacts(sent.model_id, str(folder))
        client.finalize_logged_model(sent.model_id, "READY")
    name = model.metadata[REGISTER]
    return str(sent.model_uri) if name is None else _version(client, sent, name)


def _version(client: "MlflowClient", model: "LoggedModel", name: str) -> str:
    """Return the address of the version that a model is; it is made where it is missing."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    # By its place: a version in a database does not know its model_id, and MLflow looks for
    # `models:/ID` in the default store, not in that of the client.
    place, run_id = model.artifact_location, model.source_run_id
    known = [version.version for version in versions if version.source == place]
    if not known:
        made = client.create_model_version(name, place, run_id, model_id=model.model_id)
        known = [made.version]
    return f"models:/{name}/{known[0]}"
