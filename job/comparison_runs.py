"""compare: the runs that a command line names, from an MLflow store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from job.comparison import Row
from job.comparison_groups import stem
from job.mlflow_store import StoreError, first_line, open_client, sqlite_path
from job.redaction import without_secrets
from mtl.errors import ConfigError
from mtl.plugin import nearest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

MAX_NAMES = 20
SWEEP = "graphmtl.sweep"


def open_store(uri: str) -> "MlflowClient":
    """Return a client of a store that is there.

    Raises:
        ConfigError: There is no such database.
    """
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise ConfigError(f"--uri: no database at {path}; train a model first, or name another")
    return open_client(uri)


def find_rows(
    client: "MlflowClient",
    uri: str,
    experiment: str | None,
    names: Sequence[str],
    baselines: Sequence[str],
    filter_string: str,
) -> list[Row]:
    """Return the runs to compare, the newest first or as they were named, then the baselines.

    Raises:
        ConfigError: There is no such experiment or run, or MLflow cannot read the filter.
        StoreError: The store does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        experiments = list(client.search_experiments())
        chosen = [e for e in experiments if experiment in (None, e.name)]
        runs = newest_first(client, chosen, filter_string)
    except Exception as error:  # whatever a store answers
        wrong = isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE"
        if filter_string and wrong:
            raise ConfigError(f"--filter: {filter_string!r}: {first_line(error)}") from error
        where = without_secrets(uri)
        raise StoreError(f"--uri: {where} does not answer: {first_line(error)}") from error
    if not chosen:
        raise _unknown("--experiment", str(experiment), [e.name for e in experiments])
    # A sweep's own run holds its runs together and has trained nothing.
    rows = [Row.of(run) for run in runs if SWEEP not in run.data.tags]
    if not rows:
        among = f" that match --filter {filter_string!r}" if filter_string else ""
        there = ", ".join(e.name for e in chosen)
        raise ConfigError(f"no runs in {there}{among}: train a model first")
    shown = [row for name in names for row in named(rows, "RUN", name)]
    ids = {row.run_ids[0] for row in shown}
    newest = runs[0].info.experiment_id
    in_newest = {run.info.run_id for run in runs if run.info.experiment_id == newest}
    shown = [row for row in rows if row.run_ids[0] in in_newest] if not ids else shown
    shown += [row for name in baselines for row in named(rows, "--baseline", name)]
    return list({row.run_ids[0]: row for row in shown}.values())


def newest_first(
    client: "MlflowClient", experiments: "list[Experiment]", filter_string: str
) -> "list[Run]":
    """Return all runs of the experiments that a filter lets through, the newest first."""
    ids = [experiment.experiment_id for experiment in experiments]
    order = ["attributes.start_time DESC"]
    runs: list[Run] = []
    token = None
    while ids:
        page = client.search_runs(ids, filter_string, order_by=order, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def named(rows: list[Row], option: str, name: str) -> list[Row]:
    """Return the runs of this name, with or without a seed at its end, or of this id."""
    found = [row for row in rows if is_called(row, name)]
    if not found:
        raise _unknown(option, name, [row.name for row in rows])
    return found


def is_called(row: Row, name: str) -> bool:
    """Return whether a row, or one of its runs, is called so."""
    runs = [row, *row.members]
    return name in {*row.run_ids, *(r.name for r in runs), *(stem(r.name, r.seed) for r in runs)}


def _unknown(option: str, name: str, existing: list[str]) -> ConfigError:
    """Return the error for a name that does not exist; it says those that do."""
    names = list(dict.fromkeys(existing))
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    return ConfigError(
        f"{option}: {name!r} does not exist{nearest(name, names)} (there are: {shown})"
    )
