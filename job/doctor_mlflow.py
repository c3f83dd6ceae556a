"""doctor: whether the MLflow store can be reached and takes this job's runs; nothing is made there.

A store that is down ends no training (`python -m job.track RUN_DIR` sends later), so that is a
warning; one that refuses what it is asked will refuse it later, too: a problem.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import Job
from job.doctor_network import within
from job.doctor_places import SHARED_DISKS, file_system, place
from job.mlflow_store import first_line, open_client, quiet, sqlite_path
from job.runtime import CannotWriteError
from job.track import MLflow
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from requests import Response

SECONDS = 10.0
SKEW_SECONDS = 60.0
ASKED = "/api/2.0/mlflow/experiments/get-by-name"
LATER = "the training goes on without it; `python -m job.track RUN_DIR` sends what is missing"
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def store(job: Job) -> Iterator[Finding]:
    """Ask the store for the experiment, as the job will."""
    options = job.track.mlflow
    if options is None:
        yield Finding("turned off: track.mlflow is null")
        return
    path, uri = sqlite_path(options.uri), options.uri
    try:
        if path is not None and not path.exists():
            yield place(path, "track.mlflow.uri")
        elif uri.startswith("http"):
            yield from of_answer(_ask(options), options, time.time())
        else:
            yield _of_database(options)
    except Exception as error:  # of requests, SQLAlchemy, MLflow
        yield warning(f"{uri}: cannot be reached: {first_line(_first_cause(error))}", LATER)


def database(job: Job) -> Iterator[Finding]:
    """Whether a SQLite file lies on a disk of this machine, and can be written."""
    options = job.track.mlflow
    path = sqlite_path(options.uri) if options else None
    if path is None:
        return
    kind = file_system(path)
    if kind.startswith(SHARED_DISKS):
        yield warning(
            f"{path} lies on {kind}, where locks of SQLite do not hold",
            "a disk of this machine, or an MLflow server: track.mlflow.uri=http://HOST:5000",
        )
    if path.exists():
        try:
            with closing(
                sqlite3.connect(f"{path.as_uri()}?mode=rw", timeout=1, uri=True)
            ) as opened:
                opened.execute("BEGIN IMMEDIATE")
                opened.rollback()
            yield Finding(f"{path}, on {kind}, can be written")
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                yield warning(f"{path}: another program holds it", LATER)
            else:
                advice = "another track.mlflow.uri, or the rights to write there"
                yield problem(f"{path}: {error}", advice, CannotWriteError)


def of_answer(answer: "Response", options: MLflow, now: float) -> Iterator[Finding]:
    """Say what the answer of a server means, and how far its clock is from ours."""
    status, uri = answer.status_code, options.uri
    what = _what(answer)
    missing = status == 404 and what.get("error_code") == "RESOURCE_DOES_NOT_EXIST"
    if status in (401, 403):
        by_name = "Invalid Host" in answer.text
        advice = "start it with --allowed-hosts HOST:PORT" if by_name else f"set {CREDENTIALS}"
        yield problem(f"{uri}: {status}, it refuses us", advice, ConfigError)
    elif status >= 500 or status == 429:
        yield warning(f"{uri}: {status}, it does not work", LATER)
    elif missing:
        yield of_stage(options, None)
    elif status != 200 or "experiment" not in what:
        advice = "correct track.mlflow.uri"
        yield problem(f"{uri}: {status}, this is no MLflow server", advice, ConfigError)
    else:
        yield of_stage(options, what["experiment"].get("lifecycle_stage", "active"))
    if date := answer.headers.get("Date"):
        skew = parsedate_to_datetime(date).timestamp() - now
        if abs(skew) > SKEW_SECONDS:
            found = f"the server's is {abs(skew):,.0f} s {'ahead' if skew > 0 else 'behind'}"
            yield warning(found, "synchronise both (chrony, NTP)", "clock")
        else:
            yield Finding("that of the server agrees", what="clock")


def of_stage(options: MLflow, stage: str | None) -> Finding:
    """Say whether an experiment takes runs: one that was deleted does not."""
    where = f"{options.uri}: experiment {options.experiment!r}"
    if stage is None:
        return Finding(f"{where} is new: the job makes it")
    if stage == "active":
        return Finding(f"{where} is there")
    return problem(
        f"{where} is {stage}, and takes no runs",
        "`mlflow experiments restore`, or another track.mlflow.experiment",
        ConfigError,
    )


def _ask(options: MLflow) -> "Response":
    """Ask a server for the experiment; the seconds that imports take are not its own."""
    quiet()
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    def ask() -> "Response":
        response: Response = http_request(
            get_default_host_creds(options.uri),
            ASKED,
            "GET",
            max_retries=0,
            timeout=SECONDS,
            raise_on_status=False,
            params={"experiment_name": options.experiment},
        )
        return response

    return within(SECONDS, ask)


def _of_database(options: MLflow) -> Finding:
    """Look the experiment up in a database."""
    quiet()
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # seconds that are not its own

    def ask() -> str | None:
        found = open_client(options.uri).get_experiment_by_name(options.experiment)
        return None if found is None else str(found.lifecycle_stage)

    return of_stage(options, within(SECONDS, ask))


def _first_cause(error: Exception) -> Exception:
    """Return what began it: the refused connection below all that libraries made of it."""
    cause = error.__cause__ or error.__context__
    return _first_cause(cause) if isinstance(cause, Exception) else error


def _what(answer: "Response") -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


MLFLOW = (store, database)
