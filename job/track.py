"""track: metrics -> console, metrics.jsonl, MLflow; silent on every process but the main one.

`metrics.jsonl` is the record; MLflow is a replica that a background thread feeds from it.
`python -m job.track RUN_DIR` sends what MLflow has not got.
"""

import argparse
import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal

from job.arguments import exit_code
from job.mlflow_models import MODEL
from job.mlflow_run import remember_run
from job.mlflow_sink import MLflowSink, send_run
from job.mlflow_store import first_line
from job.progress import Progress
from job.record import DIAGNOSIS, PICTURE, REPORT, Record, cut, write_json
from mtl.plugin import Options

if TYPE_CHECKING:
    import torch

Status = Literal["finished", "stopped", "failed"]
# A stopped job has little time before it is killed, and the rest can be sent later.
FLUSH_SECONDS: dict[Status, float] = {"finished": 20.0, "stopped": 5.0, "failed": 5.0}


@dataclass(frozen=True, kw_only=True)
class MLflow(Options):
    """Where the replica of the metrics goes."""

    uri: str = "sqlite:///mlflow.db"
    """Tracking server (`http://host:5000`) or database; a relative SQLite path starts at the
    current directory. Never put SQLite on a volume that machines share: run a server there."""
    experiment: str = "graphmtl"
    """Experiment that the run belongs to, created where it is missing."""
    parent: str | None = None
    """Id of the MLflow run that this one is nested in; job/sweep.py sets it."""
    log_model: bool = False
    """Write the best checkpoint of a finished run as a model to RUN_DIR/model, and send it:
    mlflow.pyfunc.load_model predicts with it, without this program installed (docs/export.md)."""
    register: str | None = None
    """Name in the model registry; each model that is sent becomes a version of it."""

    def __post_init__(self) -> None:
        if self.register is not None and not self.log_model:
            raise ValueError("register: there is no model to register without log_model: true")
        if self.register is not None and not re.fullmatch(r"[^/:]+", self.register):
            raise ValueError(f"register {self.register!r} is no name of a model (no / and no :)")
        if not re.match(r"(sqlite|postgresql|mysql|mssql|https?|databricks)\b", self.uri):
            raise ValueError(
                f"uri {self.uri!r} is no MLflow store (allowed: sqlite:///FILE, http://HOST:PORT, "
                "https://..., postgresql://..., mysql://..., databricks)"
            )


@dataclass(frozen=True, kw_only=True)
class Track(Options):
    """What is recorded, and where."""

    mlflow: MLflow | None = MLflow()
    """MLflow store and experiment; `null` turns MLflow off, metrics.jsonl is written anyway."""
    every_steps: int = 10
    """Optimizer steps between two records of the training losses. Reading losses waits for the
    device: raise it where steps take milliseconds."""
    report: bool = True
    """Write RUN_DIR/report.html, a page for people, at the end of a run (docs/report.md)."""

    def __post_init__(self) -> None:
        if self.every_steps < 1:
            raise ValueError(f"every_steps must be at least 1, found {self.every_steps}")


class Tracker:
    """The record of one training, on the main process; `open_tracker` makes it."""

    def __init__(
        self,
        options: Track,
        run_dir: Path,
        run_name: str,
        total_steps: int,
        world_size: int,
        node: str | None,
    ) -> None:
        self._mlflow, self._report = options.mlflow, options.report
        self._run_dir = run_dir
        self._run_name = run_name
        self._world_size, self._node = world_size, node
        self._progress = Progress(run_name, total_steps)
        self._latest: dict[str, float | None] = {}
        self._record: Record | None = None
        self._sink: MLflowSink | None = None

    def begin(
        self,
        config: dict[str, Any],
        card: dict[str, Any],
        tags: dict[str, str],
        step: int,
        *,
        evaluated: bool = True,
    ) -> None:
        """Start the record, or continue it: what was logged after `step` is cut off first.

        Args:
            config: Resolved configuration; its leaves become MLflow's parameters.
            card: What the graph is, in words and numbers (dataset.json).
            tags: Tags of the MLflow run.
            step: Optimizer steps that earlier starts have done; 0 begins anew.
            evaluated: Whether the evaluation of that step counts; else it will come again.
        """
        self._run_dir.mkdir(parents=True, exist_ok=True)
        for of_the_end in ("summary.json", PICTURE, DIAGNOSIS, REPORT):
            (self._run_dir / of_the_end).unlink(missing_ok=True)
        rmtree(self._run_dir / MODEL, ignore_errors=True)
        path = self._run_dir / "metrics.jsonl"
        self._latest = cut(path, step, evaluated=evaluated)
        self._record = Record(path, self.message)
        write_json(self._run_dir / "dataset.json", card)
        tags = {"world_size": str(self._world_size), **tags}
        if self._mlflow is not None and self._mlflow.parent is not None:
            tags["mlflow.parentRunId"] = self._mlflow.parent
        state = remember_run(self._run_dir, self._mlflow, self._run_name, config, tags, step)
        if self._mlflow is not None:
            self._sink = MLflowSink(self._run_dir, state, self.message, live=True, node=self._node)
            self._sink.start()
        self._progress.start(step)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty where it has none, or none yet."""
        return (self._sink and self._sink.run_id) or ""

    def step(self, step: int, num_seeds: int) -> None:
        """Count one optimizer step of `num_seeds` seeds (of all processes) for the display."""
        self._progress.advance(step, num_seeds)

    def log(self, metrics: Mapping[str, "float | torch.Tensor"], step: int) -> None:
        """Record metrics; tensors are read here, non-finite numbers become null."""
        assert self._record is not None, "begin() comes first"
        floats = {key: float(value) for key, value in metrics.items()}
        values = {key: value if math.isfinite(value) else None for key, value in floats.items()}
        self._record.add({"step": step, "time": time.time(), **values})
        self._latest.update(values)
        losses = [v for key, v in floats.items() if re.fullmatch(r"train/.+/loss", key)]
        if losses:
            self._progress.show_loss(sum(losses) / len(losses))

    def message(self, text: str) -> None:
        """Show people a line, above the bar."""
        self._progress.say(text)

    def finish(self, status: Status, summary: dict[str, Any]) -> None:
        """Write summary.json, send what MLflow has not got (20 s at most), end its run.

        Args:
            status: How training ended.
            summary: `step`, `metrics`, `throughput` and whatever else summary.json shall hold;
                `status` and `mlflow_run_id` are added.
        """
        assert self._record is not None, "begin() comes first"
        self._log_finals(summary)
        self._record.close()
        run_id = self._sink and self._sink.run_id
        path = self._run_dir / "summary.json"
        write_json(path, {**summary, "status": status, "mlflow_run_id": run_id})
        self._progress.stop()
        if status == "finished" and self._report and (self._run_dir / DIAGNOSIS).is_file():
            from job.report import draw_or_say  # only an end needs what draws it

            draw_or_say(self._run_dir, self.message)
        if status == "finished" and self._mlflow is not None and self._mlflow.log_model:
            self._write_model(self._mlflow.register)
        if self._sink is not None:
            self._sink.close(FLUSH_SECONDS[status])
            if self._sink.run_id != run_id:
                summary = {**summary, "status": status, "mlflow_run_id": self._sink.run_id}
                write_json(path, summary)

    def _write_model(self, register: str | None) -> None:
        """Write the model that the sink sends; the training is done, whatever comes of it."""
        from job.export_folder import write_model  # this imports all that predicts

        try:
            write_model(self._run_dir, self._run_dir / MODEL, register=register)
        except Exception as error:  # of the disk, or of MLflow
            command = f"python -m job.export {self._run_dir} OUT_DIR"
            self.message(f"no model was written: {first_line(error)}; later: {command}")

    def _log_finals(self, summary: dict[str, Any]) -> None:
        """Record the numbers of the summary that are not the latest ones already."""
        throughput = summary.get("throughput", {})
        finals = {f"throughput/{key}": value for key, value in throughput.items()}
        finals |= summary.get("metrics", {})
        fresh = {
            key: value
            for key, value in finals.items()
            if value is not None and self._latest.get(key) != value
        }
        if fresh:
            self.log(fresh, summary.get("step", 0))


class SilentTracker(Tracker):
    """The tracker of every process but the main one: does nothing."""

    def __init__(self) -> None:
        self._sink = None

    def begin(self, *args: Any, **options: Any) -> None:
        """Do nothing."""

    def step(self, step: int, num_seeds: int) -> None:
        """Do nothing."""

    def log(self, metrics: Mapping[str, "float | torch.Tensor"], step: int) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def finish(self, status: Status, summary: dict[str, Any]) -> None:
        """Do nothing."""


def open_tracker(
    options: Track,
    run_dir: Path,
    run_name: str,
    *,
    is_main: bool,
    total_steps: int,
    world_size: int,
    node: str | None = None,
) -> Tracker:
    """Return the tracker of this process; only the main one records anything."""
    if not is_main:
        return SilentTracker()
    return Tracker(options, run_dir, run_name, total_steps, world_size, node)


def main(argv: list[str] | None = None) -> int:
    """Send to MLflow what it has not got of a run directory; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m job.track", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--uri", help="another MLflow store than the one training used")
    parser.add_argument("--experiment", help="another experiment than the one training used")
    args = parser.parse_args(argv)
    return exit_code(lambda: print(send_run(args.run_dir, args.uri, args.experiment)))


if __name__ == "__main__":
    sys.exit(main())
