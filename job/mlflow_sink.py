"""track: metrics.jsonl -> one MLflow run, from a thread that never blocks or ends training.

Everything sent is read from the run directory, so what was not sent can be sent later.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from job.mlflow_end import end_run
from job.mlflow_machines import open_monitor
from job.mlflow_models import MODEL, send_model
from job.mlflow_points import read_points, unsent
from job.mlflow_run import describe, find_run, make_run, send_files
from job.mlflow_store import (
    StoreError,
    absolute,
    first_line,
    open_client,
    quiet,
)
from job.record import PICTURE, REPORT, read_json, write_json
from job.redaction import holds_secret, without_secrets
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

START_SECONDS = 10.0
POLL_SECONDS = 10.0
"""Sending takes the interpreter from the training for 5 to 30 ms: less often than one step in a
hundred."""
MAX_PAUSE_SECONDS = 60.0
MAX_POINTS = 1000
"""That MLflow takes at once."""


def send_run(run_dir: Path, uri: str | None, experiment: str | None) -> str:
    """Send what MLflow has not got of a run directory, and say what was done.

    Raises:
        ConfigError: The folder is not a run directory, or no store is named.
        StoreError: The store cannot be reached or does not take it.
    """
    path = run_dir / "mlflow.json"
    if not path.is_file() or not (run_dir / "metrics.jsonl").is_file():
        raise ConfigError(f"{run_dir}: not a run directory (mlflow.json or metrics.jsonl missing)")
    if uri and holds_secret(uri):  # mlflow.json remembers it
        raise ConfigError("--uri: holds a password; give it in the environment (docs/security.md)")
    state = read_json(path, "uri", "experiment", "name", "key", "run_id", "params", "tags")
    state["uri"] = absolute(uri) if uri else state["uri"]
    state["experiment"] = experiment or state["experiment"] or "graphmtl"
    if state["uri"] is None:
        raise ConfigError(f"{run_dir}: trained with `track.mlflow: null`; name a store with --uri")
    said: list[str] = []
    sink = MLflowSink(run_dir, state, said.append, live=False)
    try:
        num_points = sink.send()
        if (run_dir / "summary.json").exists():
            sink.end()
    except Exception as error:  # whatever a store answers
        raise StoreError(f"{sink.uri} did not take it: {first_line(error)}") from error
    return "\n".join([*said, f"{num_points:,} points sent to run {sink.run_id} at {sink.uri}"])


class MLflowSink:
    """Sends a run directory to its MLflow run.

    A connection begins with the question what the run has got, and all of metrics.jsonl is read
    again: whatever happened before, to the job or to the store, no point is sent twice or left out.

    Args:
        run_dir: Folder with metrics.jsonl.
        state: What mlflow.json holds, or shall hold once the store has taken it.
        say: Shows people a line.
        live: Training is running here: mark the run so, and record what the machine does. Else
            there is time: compare each point with those that the run has got.
        node: Name of this machine, where there are several.
    """

    def __init__(
        self,
        run_dir: Path,
        state: dict[str, Any],
        say: Callable[[str], None],
        *,
        live: bool,
        node: str | None = None,
    ) -> None:
        quiet()
        self._run_dir = run_dir
        self._state = state
        self._say = say
        self._live, self._node = live, node
        self.uri = without_secrets(state["uri"])
        self._client: MlflowClient | None = None
        self._monitor: Any = None
        self._offset = 0
        self._newest: dict[str, Metric] = {}
        self._closing, self._tried = Event(), Event()
        self._complete = False
        self._thread = Thread(target=self._run, name="mlflow", daemon=True)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once it is known."""
        run_id: str | None = self._state["run_id"]
        return run_id

    def start(self) -> None:
        """Start sending in the background, after a first try that takes 10 s at most.

        What MLflow imports would otherwise slow the first steps, as all threads share Python.
        """
        self._thread.start()
        self._tried.wait(START_SECONDS)

    def close(self, seconds: float) -> None:
        """Send what is left and end the run as summary.json says; takes `seconds` at most."""
        self._closing.set()
        self._thread.join(seconds)
        if not self._complete:
            self._say(
                f"{self.uri} has not got everything; later: python -m job.track {self._run_dir}"
            )

    def send(self) -> int:
        """Send what the run has not got; returns the number of points."""
        connects = self._client is None
        client = self._client or self._connect()
        num_points = 0
        for points, offset in read_points(self._run_dir / "metrics.jsonl", self._offset):
            new = [point for point in points if self._is_unsent(point)]
            for start in range(0, len(new), MAX_POINTS):
                client.log_batch(self.run_id, metrics=new[start : start + MAX_POINTS])
            self._newest |= {point.key: point for point in points}
            self._offset = offset
            self._remember(offset=offset)
            num_points += len(new)
        if connects:  # last: artifacts may be slow, and points must not wait
            self._send_files(partial(send_files, client, self.run_id, self._run_dir))
            self._watch_machine()
        return num_points

    def end(self) -> None:
        """End the run as summary.json says.

        Raises:
            StoreError: The run lacks points that the store said it took.
        """
        assert self._client is not None, "send() comes first"
        run = self._client.get_run(self.run_id)
        latest = {metric.key: metric.step for metric in run.data._metric_objs}
        if any(latest.get(key, -1) < point.step for key, point in self._newest.items()):
            raise StoreError("it lacks points that it said it took")
        summary = json.loads((self._run_dir / "summary.json").read_text())
        last = max((point.timestamp for point in self._newest.values()), default=None)
        end_run(self._client, run, summary, last)
        if self._monitor is not None:
            self._monitor.finish()
        for picture in (self._run_dir / PICTURE, self._run_dir / REPORT):
            if picture.is_file():
                self._send_files(partial(self._client.log_artifact, self.run_id, str(picture)))
        model = self._run_dir / MODEL
        if model.is_dir():
            self._send_files(partial(send_model, self._client, str(self.run_id), model))

    def _run(self) -> None:
        pause, closing, failed = 0.0, False, False
        while not closing:
            closing = self._closing.wait(pause)
            try:
                self.send()
                if closing:
                    self.end()
                    self._complete = True
            except Exception as error:  # whatever a store answers, training goes on
                self._client = None
                pause = min(max(2 * pause, POLL_SECONDS), MAX_PAUSE_SECONDS)
                if not failed:
                    self._say(f"{self.uri} takes no metrics, they are kept: {first_line(error)}")
                failed = True
            else:
                pause, failed = POLL_SECONDS, False
            self._tried.set()

    def _connect(self) -> "MlflowClient":
        """Find or make the run, say what it is of, and ask what it has got."""
        client = open_client(self._state["uri"])
        run = find_run(client, self._state) or make_run(client, self._state)
        self._remember(run_id=run.info.run_id)
        if self._live and run.info.status != "RUNNING":
            client.update_run(self.run_id, status="RUNNING")
        describe(client, run, self._state)
        self._offset, self._newest = 0, {}
        self._is_unsent = self._compare(client, run)
        self._client = client
        return client

    def _compare(self, client: "MlflowClient", run: "Run") -> "Callable[[Metric], bool]":
        """Return what says of each point whether the run lacks it.

        Points are sent in their order, so that the latest of a metric tells enough. Only a store
        that said that it took what it did not take has holes, and its whole history tells.
        """
        latest = {metric.key: metric for metric in run.data._metric_objs}
        if self._live:
            steps = {key: metric.step for key, metric in latest.items()}
            return unsent(lambda key: [latest[key]] if key in latest else [], steps)
        history = partial(client.get_metric_history, run.info.run_id)
        return unsent(lambda key: history(key) if key in latest else [], {})

    def _watch_machine(self) -> None:
        """Record what this machine does; the monitor ends when the store fails once."""
        if self._live and (self._monitor is None or not self._monitor._process.is_alive()):
            self._monitor = open_monitor(self._state["uri"], self.run_id, self._node)

    def _send_files(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:  # often the artifacts lie elsewhere, closed to this machine
            self._say(f"{self.uri} took no artifacts: {first_line(error)}")

    def _remember(self, **changes: Any) -> None:
        self._state |= changes
        write_json(self._run_dir / "mlflow.json", self._state)
