"""export: a run and one graph: predictions of the rows that somebody names.

A row is computed in the chunk in which job/predict.py computes it, so its prediction is the same,
whatever else is asked for.
"""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from job.config import load
from job.export_table import KEYS, choose, find_pairs, find_rows
from job.predict import Wish
from job.prediction import Pass
from job.prediction_columns import Predicted
from job.prediction_parts import Parts
from job.prediction_passes import build_passes, scored
from job.prediction_run import open_run
from job.runtime import Runtime
from mtl.errors import ConfigError
from mtl.tasks._elsewhere import num_rows
from mtl.tasks._links import BoundLinks

if TYPE_CHECKING:
    import pandas as pd

RUN = "run"
"""Name of the artifact: a run directory with one checkpoint, which job/predict.py reads, too."""


class OpenRun:
    """A run on a graph.

    Args:
        run_dir: of the run.
        graph: folder of another graph than its own; None for its own.
        runtime: this process.
    """

    def __init__(self, run_dir: Path, graph: Path | None, runtime: Runtime) -> None:
        config = load([str(run_dir / "config.yaml")])
        kinds = {name: task.type for name, task in config.tasks.items()}
        wish = Wish(
            run_dir=run_dir,
            out_dir=Path(),
            config=replace(config, run=replace(config.run, dir=run_dir)),
            tasks=tuple(name for name, kind in kinds.items() if kind != "link_prediction"),
            split="all",
            checkpoint="best",
            embeddings=False,
            pairs=None,
            graph=graph,
        )
        self._config, self._dtype = wish.config, runtime.dtype
        self._store, self._tasks, model, _ = open_run(wish, runtime)
        self._parts = Parts(wish.config, Path(), self._store, self._tasks, model, runtime)
        self._passes = build_passes(wish, self._store, self._tasks, {})

    def predict(self, table: "pd.DataFrame", task: str, *, all_rows: bool) -> "pd.DataFrame":
        """Return the predictions of the rows of a table, in its order.

        Args:
            table: with the columns that name nodes, edges, graphs or pairs of nodes.
            task: whose columns are those of job/predict.py; "" for all on these rows, beside each
                other.
            all_rows: predict every row of the graph; the table is empty.

        Raises:
            ConfigError: the task is not there, or must be named.
            DataError: a row is not there.
        """
        if all_rows and len(table):
            raise ConfigError(f"all_rows: the table lists {len(table)} rows; give an empty one")
        names = choose(self._tasks, self._store, task, table)
        first = self._tasks[names[0]]
        if isinstance(first, BoundLinks):
            job, rows = self._pairs(first, table)
        else:
            job = self._job(names)
            every = np.arange(num_rows(self._store, first.owner))
            rows = every if all_rows else find_rows(table, first.owner, self._store)
        found = self._tables(job, rows)
        return (found[task] if task else beside(found)).to_pandas()

    def _job(self, names: list[str]) -> Pass:
        """Return the pass over the rows of some tasks; what is known of them is left out."""
        job = next(job for job in self._passes if names[0] in job.columns)
        columns = {
            name: replace(columns, label=None, split=None)
            for name, columns in job.columns.items()
            if name in names and isinstance(columns, Predicted)
        }
        return replace(job, columns=columns)

    def _pairs(self, task: BoundLinks, table: "pd.DataFrame") -> tuple[Pass, np.ndarray]:
        loader = self._config.loader
        if loader.temporal and not loader.seed_time:
            raise ConfigError("task: pairs have no time, and the run has no loader.seed_time")
        listed = find_pairs(table, task, self._store)
        return scored(listed, self._store, {task.name: task}, {}), np.arange(len(listed[0]))

    def _tables(self, job: Pass, wanted: np.ndarray) -> dict[str, pa.Table]:
        """Return the predictions of some seeds, by task."""
        seeds: list[np.ndarray] = [np.empty(0, np.int64)]
        values = {
            name: [torch.empty(0, c.width, dtype=self._dtype)] for name, c in job.columns.items()
        }
        for segment in job.segments:
            size = segment.chunk_size(self._config.evaluate.batch_size)
            chunks = np.unique(np.flatnonzero(np.isin(segment.ordered(size), wanted)) // size)
            with closing(self._parts.batches(job, segment, chunks.tolist())) as batches:
                for its, batch in batches:
                    kept = np.flatnonzero(np.isin(its, wanted))
                    seeds.append(its[kept].astype(np.int64))
                    for name, found in self._parts.values(job, batch).items():
                        values[name].append(found[torch.from_numpy(kept)])
        there = np.concatenate(seeds)
        order = np.argsort(there)
        places = torch.from_numpy(order[np.searchsorted(there, wanted, sorter=order)])
        return {
            name: columns.table(wanted, torch.cat(values[name])[places])
            for name, columns in job.columns.items()
        }


def beside(tables: dict[str, pa.Table]) -> pa.Table:
    """Return tables of the same rows as one: what a task says is called TASK/COLUMN."""
    first = next(iter(tables.values()))
    columns = {name: first[name] for name in first.column_names if name in KEYS}
    for task, table in tables.items():
        columns |= {f"{task}/{n}": table[n] for n in table.column_names if n not in KEYS}
    return pa.table(columns)
