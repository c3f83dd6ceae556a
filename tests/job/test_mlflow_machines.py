"""Each machine of a job says what it does, in the job's one MLflow run."""

import time
from types import SimpleNamespace

import pytest

from job import mlflow_machines
from job.mlflow_machines import Watch
from job.mlflow_store import open_client
from job.track import MLflow

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
OTHER = SimpleNamespace(node="node-1", is_local_main=True, is_main=False)


@pytest.fixture
def run(store, monkeypatch):
    """A run in a store that machines can reach, sampled at once."""
    monkeypatch.setattr(mlflow_machines, "sqlite_path", lambda _: None)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    client = open_client(store)
    run = client.create_run("0")

    def wait_for(names: set[str]) -> bool:
        """Return whether the run gets metrics with these beginnings, within seconds."""
        for _ in range(100):
            metrics = client.get_run(run.info.run_id).data.metrics
            if names <= {key.rpartition("/")[0] for key in metrics}:
                return True
            time.sleep(0.05)
        return False

    yield run.info.run_id, wait_for
    client.set_terminated(run.info.run_id)  # what ends the monitors
    time.sleep(0.2)


def test_another_machine_is_recorded_by_its_name_again_after_the_store_failed(
    run, store, monkeypatch
):
    run_id, wait_for = run
    open_monitor, failures = mlflow_machines.open_monitor, [OSError("the store is away")]

    def fail_once(*args):
        if failures:
            raise failures.pop()
        return open_monitor(*args)

    monkeypatch.setattr(mlflow_machines, "open_monitor", fail_once)
    monkeypatch.setattr(mlflow_machines, "AGAIN_SECONDS", 0.1)
    Watch(MLflow(uri=store), OTHER).start(run_id)
    assert wait_for({"system/node-1"})
    assert not failures


@pytest.mark.parametrize(
    "change",
    [{"is_main": True}, {"is_local_main": False}, {"node": None}],
    ids=["the sink does it", "one of a machine does it", "one machine"],
)
def test_nobody_else_watches(change, run, store, monkeypatch):
    monkeypatch.setattr(mlflow_machines, "Thread", lambda **_: pytest.fail("it watches"))
    Watch(MLflow(uri=store), SimpleNamespace(**(vars(OTHER) | change))).start(run[0])


def test_where_there_is_no_run_or_no_server_nothing_is_watched(store, monkeypatch):
    monkeypatch.setattr(mlflow_machines, "Thread", lambda **_: pytest.fail("it watches"))
    Watch(MLflow(uri=store), OTHER).start("1")  # a file on the first machine
    Watch(None, OTHER).start("1")
    Watch(MLflow(uri="http://127.0.0.1:9"), OTHER).start("")
