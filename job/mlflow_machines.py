"""track: what each machine of the job does (cores, memory, disks, GPUs), in the job's MLflow run.

The main process's sink watches its own machine; here one process of each other one does.
"""

import time
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from job.mlflow_store import quiet, sqlite_path

if TYPE_CHECKING:
    from job.runtime import Runtime
    from job.track import MLflow

AGAIN_SECONDS = 60.0


def open_monitor(uri: str, run_id: str | None, node: str | None) -> Any:
    """Start MLflow's own monitor, which ends with the run, or when the store fails once.

    Args:
        uri: of the store.
        run_id: of the run, which is running.
        node: name of this machine, where there are several: `system/NODE/...`.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, node_id=node, tracking_uri=uri)
    monitor.start()
    return monitor


class Watch:
    """Records what a machine does that the main process is not on.

    Args:
        target: the store; a SQLite file is on the main process's machine alone.
        runtime: one process of each other machine watches it.
    """

    def __init__(self, target: "MLflow | None", runtime: "Runtime") -> None:
        self._node = runtime.node if runtime.is_local_main and not runtime.is_main else None
        remote = target is not None and sqlite_path(target.uri) is None
        self._uri = target.uri if remote and target is not None else None
        if self._uri is not None and self._node is not None:
            quiet()
            # seconds, while the main process opens the run
            import mlflow.system_metrics.system_metrics_monitor  # noqa: F401

    def start(self, run_id: str) -> None:
        """Watch in the background from now on, where the main process has a run."""
        if run_id and self._uri is not None and self._node is not None:
            arguments = self._uri, run_id, self._node
            Thread(target=_watch, args=arguments, name="machine", daemon=True).start()


def _watch(uri: str, run_id: str, node: str) -> None:
    while True:
        with suppress(Exception):  # whatever a store answers, training goes on
            open_monitor(uri, run_id, node)._process.join()
        time.sleep(AGAIN_SECONDS)
