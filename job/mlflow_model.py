"""serve: what MLflow runs of an exported run: a file that is loaded, no object that is unpickled.

`job/export.py` ships it with the code and the weights; `mlflow.pyfunc.load_model` runs it.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from job.config import load
from job.export_rows import RUN, OpenRun
from job.runtime import Runtime
from mtl.errors import ConfigError, UserError
from mtl.graphs.folder import Folder


class GraphModel(PythonModel):
    """A trained run, asked for the predictions of rows of a graph."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the configuration; graph and weights are opened for the first table."""
        self._run_dir = Path(context.artifacts[RUN])
        self._config = load([str(self._run_dir / "config.yaml")])
        # It is not entered: signals and the end of this process are the server's.
        self._runtime = Runtime(self._config.train.precision, None, self._config.loader.num_threads)
        self._opened: tuple[tuple[str, int], OpenRun] | None = None
        self._lock = Lock()

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return the predictions of the rows of a table.

        Args:
            context: of MLflow.
            model_input: columns that name nodes, edges, graphs or pairs of nodes.
            params: `task`, `graph` (folder) and `all_rows`, as the signature has them.

        Raises:
            MlflowException: something that is asked for is not there.
        """
        asked = params or {}
        try:
            with self._lock:
                run = self._open(asked.get("graph", ""))
                all_rows = bool(asked.get("all_rows", False))
                return run.predict(model_input, asked.get("task", ""), all_rows=all_rows)
        except UserError as error:  # of other kinds a server does not say a word
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _open(self, graph: str) -> OpenRun:
        """Return the run on a graph; the last one stays open until its folder changes."""
        assert isinstance(self._config.graph, Folder)
        folder = Path(graph) if graph else self._config.graph.path
        manifest = folder / "graph.json"
        if not manifest.is_file():
            raise ConfigError(
                f"graph: {folder} is no graph folder on this machine; name one that "
                "job/prepare.py made: params={'graph': FOLDER}"
            )
        key = (str(folder.resolve()), manifest.stat().st_mtime_ns)
        if self._opened is None or self._opened[0] != key:
            self._opened = None  # both at once may not fit
            self._opened = key, OpenRun(self._run_dir, folder if graph else None, self._runtime)
        return self._opened[1]


set_model(GraphModel())
