"""track: metrics.jsonl -> one MLflow run, from a thread that never blocks or ends training.

Everything sent is read from the run directory, so what was not sent can be sent later.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, BinaryIO

from job.mlflow_end import end_run
from job.mlflow_models import MODEL, send_model
from job.mlflow_run import clean, describe, find_run, make_run, send_files
from job.mlflow_store import (
    StoreError,
    absolute,
    first_line,
    open_client,
    quiet,
    without_password,
)
from job.record import PICTURE, REPORT, parse, write_json
from job.redaction import holds_secret
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

POLL_SECONDS = 2.0
MAX_PAUSE_SECONDS = 60.0


def send_run(run_dir: Path, uri: str | None, experiment: str | None) -> str:
    """Send what MLflow has not got of a run directory, and say what was done.

    Raises:
        ConfigError: The folder is not a run directory, or no store is named.
        StoreError: The store cannot be reached or does not take it.
    """
    path = run_dir / "mlflow.json"
    if not path.is_file() or not (run_dir / "metrics.jsonl").is_file():
        raise ConfigError(f"{run_dir}: not a run directory (mlflow.json or metrics.jsonl missing)")
    state = json.loads(path.read_text())
    if uri and holds_secret(uri):  # mlflow.json remembers it
        raise ConfigError("--uri: holds a password; give it in the environment (docs/security.md)")
    state["uri"] = absolute(uri) if uri else state["uri"]
    state["experiment"] = experiment or state["experiment"] or "graphmtl"
    if state["uri"] is None:
        raise ConfigError(f"{run_dir}: trained with `track.mlflow: null`; name a store with --uri")
    write_json(path, state)
    said: list[str] = []
    sink = MLflowSink(run_dir, said.append, live=False)
    try:
        num_points = sink.send()
        if (run_dir / "summary.json").exists():
            sink.end()
    except Exception as error:  # whatever a store answers
        raise StoreError(f"{sink.uri} did not take it: {first_line(error)}") from error
    return "\n".join([*said, f"{num_points:,} points sent to run {sink.run_id} at {sink.uri}"])


class MLflowSink:
    """Sends a run directory to its MLflow run.

    Args:
        run_dir: Folder with mlflow.json and metrics.jsonl.
        say: Shows people a line.
        live: Training is running here: mark the run so, and record what the machine does.
    """

    def __init__(self, run_dir: Path, say: Callable[[str], None], *, live: bool = True) -> None:
        quiet()
        self._run_dir = run_dir
        self._say = say
        self._live = live
        self._state: dict[str, Any] = json.loads((run_dir / "mlflow.json").read_text())
        self.uri = without_password(self._state["uri"])
        self._client: MlflowClient | None = None
        self._monitor: Any = None
        self._sent: dict[str, int] = {}
        self._closing = Event()
        self._failed = False
        self._thread = Thread(target=self._run, name="mlflow", daemon=True)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once it is known."""
        run_id: str | None = self._state["run_id"]
        return run_id

    def start(self) -> None:
        """Start sending in the background."""
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what is left and end the run as summary.json says; takes `seconds` at most."""
        self._closing.set()
        self._thread.join(seconds)
        if self._thread.is_alive() or self._failed:
            self._say(
                f"{self.uri} has not got everything; later: python -m job.track {self._run_dir}"
            )

    def send(self) -> int:
        """Send what was logged since the last time; returns the number of points."""
        client = self._client or self._connect()
        num_points = 0
        with (self._run_dir / "metrics.jsonl").open("rb") as file:
            file.seek(self._state["offset"])
            while lines := list(islice(_whole_lines(file), 100)):
                points = [point for line in lines for point in self._points(line)]
                for start in range(0, len(points), 1000):
                    client.log_batch(self.run_id, metrics=points[start : start + 1000])
                self._remember(offset=self._state["offset"] + sum(map(len, lines)))
                num_points += len(points)
        return num_points

    def end(self) -> None:
        """End the run as summary.json says."""
        assert self._client is not None, "send() comes first"
        if self._monitor is not None:
            self._monitor.finish()
        summary = json.loads((self._run_dir / "summary.json").read_text())
        end_run(self._client, self.run_id, summary)
        for picture in (self._run_dir / PICTURE, self._run_dir / REPORT):
            if picture.is_file():  # last: artifacts may be slow, and the rest must not wait
                self._send_files(partial(self._client.log_artifact, self.run_id, str(picture)))
        model = self._run_dir / MODEL
        if model.is_dir():
            self._send_files(partial(send_model, self._client, str(self.run_id), model))

    def _run(self) -> None:
        pause = 0.0
        closing = False
        while not closing:
            closing = self._closing.wait(pause)
            try:
                self.send()
                if closing:
                    self.end()
            except Exception as error:  # whatever a store answers, training goes on
                pause = min(max(2 * pause, POLL_SECONDS), MAX_PAUSE_SECONDS)
                if not self._failed:
                    self._say(f"{self.uri} takes no metrics, they are kept: {first_line(error)}")
                self._failed = True
            else:
                pause = POLL_SECONDS
                self._failed = False

    def _connect(self) -> "MlflowClient":
        """Find or make the run, and send all of it that is not a metric."""
        state = self._state
        client = open_client(state["uri"])
        run = find_run(client, state)
        if run is None:
            run = make_run(client, state)
            self._remember(offset=0)
        self._remember(run_id=run.info.run_id)
        if self._live and run.info.status != "RUNNING":
            client.update_run(self.run_id, status="RUNNING")
        # A resumed training logs steps again that the run has got already.
        self._sent = {metric.key: metric.step for metric in run.data._metric_objs}
        describe(client, run, state)
        self._send_files(partial(send_files, client, run, self._run_dir))
        self._client = client
        if self._live:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(
                self.run_id, resume_logging=True, tracking_uri=state["uri"]
            )
            self._monitor.start()
        return client

    def _send_files(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:  # often the artifacts lie elsewhere, closed to this machine
            self._say(f"{self.uri} took no artifacts: {first_line(error)}")

    def _points(self, line: bytes) -> "Iterator[Metric]":
        from mlflow.entities import Metric

        record = parse(line) or {}
        step, seconds = record.pop("step", 0), record.pop("time", 0.0)
        for name, value in record.items():
            key = clean(name)
            if value is not None and step > self._sent.get(key, -1):
                yield Metric(key, value, round(seconds * 1000), step)

    def _remember(self, **changes: Any) -> None:
        self._state |= changes
        write_json(self._run_dir / "mlflow.json", self._state)


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield line
