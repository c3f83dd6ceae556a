"""track: a quiet client of an MLflow store, safe where several jobs share one SQLite file."""

import fcntl
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from job.redaction import without_secrets
from mtl.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own defaults block 247 s where its server is down. What we send is tried again by us: a
# request that is repeated blindly makes a second run where the first answer got lost, and sleeps
# for as long as a server's Retry-After says.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


NO_MLFLOW = "something answers there, and it is no MLflow"


class StoreError(UserError):
    """The store cannot be reached, or does not take what it is given."""

    exit_code: ClassVar[int] = 73


def first_line(error: Exception) -> str:
    """Return what a store's error says, short enough for a line and without passwords.

    MLflow puts the address and the request before the cause.
    """
    line = (without_secrets(str(error)).splitlines() or [""])[0]
    cause = re.search(r"Caused by \w+\(['\"](.*)['\"]\)", line)
    return f"{type(error).__name__}: {cause[1] if cause else line}"[:200]


def quiet() -> None:
    """Let MLflow give up soon and print nothing, unless the environment says otherwise."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def open_client(uri: str) -> "MlflowClient":
    """Return a client of the store; a missing SQLite file is made."""
    quiet()
    from mlflow import MlflowClient

    path = sqlite_path(uri)
    if path is not None and not path.exists():
        _make_sqlite(path)
    return MlflowClient(tracking_uri=uri)


def open_experiment(client: "MlflowClient", uri: str, name: str) -> str:
    """Return the id of the experiment of this name; it is made where it is missing."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        path = sqlite_path(uri)
        artifacts = None if path is None else (path.parent / "mlruns").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:  # another job was quicker
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if not found.experiment_id:
        raise StoreError(NO_MLFLOW)
    if found.lifecycle_stage == "deleted":
        raise StoreError(
            f"the experiment {name!r} is deleted: restore it (mlflow experiments restore -x "
            f"{found.experiment_id}), or name another"
        )
    return str(found.experiment_id)


def absolute(uri: str) -> str:
    """Return the URI with its SQLite path, if it has one, made absolute."""
    path = sqlite_path(uri)
    return uri if path is None else f"sqlite:///{path}"


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of the file of a SQLite URI, None for other stores."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _make_sqlite(path: Path) -> None:
    """Make the tables aside, one process at a time: a migration that two do, or that is killed,
    leaves a file that MLflow refuses for good."""
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            aside = path.with_name(f".{path.name}.new")
            aside.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
            aside.replace(path)
