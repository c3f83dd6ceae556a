"""launch: what MLflow has last heard of a run on a cluster."""

from collections.abc import Iterator, Mapping

from job.mlflow_store import first_line, open_client
from launch.pod import Manifest

SHOWN = 12


def show_metrics(owner: Manifest, uri: str | None) -> Iterator[str]:
    """Yield the last metrics of a run; a server that does not answer is only said so.

    Args:
        owner: Job or TrainJob, whose annotations name the MLflow run.
        uri: another address of the server: the pods' one may mean nothing out here.
    """
    notes = owner["metadata"].get("annotations") or {}
    uri = uri or notes.get("graphmtl/mlflow-uri")
    if not uri or "graphmtl/run" not in notes:
        return
    try:
        yield from _last(uri, notes["graphmtl/mlflow-experiment"], notes["graphmtl/run"])
    except Exception as error:  # of MLflow, requests, urllib3, a database driver
        yield (
            f"  MLflow at {uri} does not tell: {first_line(error)}; from outside the cluster: "
            "kubectl port-forward, then --mlflow-uri http://localhost:PORT"
        )


def _last(uri: str, experiment: str, name: str) -> Iterator[str]:
    client = open_client(uri)
    found = client.get_experiment_by_name(experiment)
    query = "attributes.run_name = '{}'".format(name.replace("'", ""))
    runs = found and client.search_runs(
        [found.experiment_id], query, max_results=1, order_by=["attributes.start_time DESC"]
    )
    if not runs:
        yield f"  MLflow at {uri} has no run {name!r} in experiment {experiment!r} yet"
        return
    run, metrics = runs[0], _interesting(runs[0].data.metrics)
    steps = [client.get_metric_history(run.info.run_id, key)[-1].step for key in list(metrics)[:1]]
    at = f" at step {steps[0]}" if steps else ""
    yield f"  MLflow run {run.info.run_id} ({run.info.status}){at}"
    yield from (f"    {key} {value:.4g}" for key, value in metrics.items())


def _interesting(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return results where there are some, else how training goes."""
    for start in ("test/", "val/", "train/"):
        some = {key: value for key, value in sorted(metrics.items()) if key.startswith(start)}
        if some:
            return dict(list(some.items())[:SHOWN])
    return {}
