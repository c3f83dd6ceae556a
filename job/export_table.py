"""export: how a table names rows of a graph: nodes, edges, small graphs, or pairs of nodes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from job.prediction_inputs import rows_of
from mtl.errors import ConfigError, DataError
from mtl.graphs.schema import Owner, text
from mtl.graphs.store import GraphStore
from mtl.plugin import nearest
from mtl.tasks._elsewhere import num_rows
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

if TYPE_CHECKING:
    import pandas as pd

KEYS = {"id", "row", "src", "dst", "edge", "graph"}
"""Columns that say which row it is."""
ASKED_FOR = {"link_prediction", "feature_reconstruction"}
"""Types of tasks that are predicted only where one is named."""


def key_columns(owner: Owner, store: GraphStore) -> tuple[str, ...]:
    """Return the columns that name a row of an owner, as job/predict.py writes them."""
    if not isinstance(owner, str):
        return ("src", "dst")
    if owner in store.collections:
        return ("graph",)
    return ("row",) if store.ids(owner) is None else ("id",)


def choose(
    tasks: Mapping[str, BoundTask], store: GraphStore, name: str, table: "pd.DataFrame"
) -> list[str]:
    """Return the tasks to predict: the one that is named, or all on what the table names.

    Raises:
        ConfigError: there is no such task, or the table may name rows of several types.
    """
    if name:
        if name not in tasks:
            raise ConfigError(
                f"task: the model has no task {name!r}{nearest(name, list(tasks))} (it has: "
                f"{', '.join(tasks)})"
            )
        return [name]
    names = [n for n, task in tasks.items() if task.task.type not in ASKED_FOR] or list(tasks)
    found: dict[Owner, list[str]] = {}
    for each in names:
        owner = tasks[each].owner
        if set(key_columns(owner, store)) <= set(table.columns) or not len(table.columns):
            found.setdefault(owner, []).append(each)
    if len(found) == 1:
        return next(iter(found.values()))
    wanted = {text(tasks[n].owner): key_columns(tasks[n].owner, store) for n in names}
    allowed = ", ".join(f"{' and '.join(keys)} of {owner}" for owner, keys in wanted.items())
    if found:
        raise ConfigError(f"task: name one of {', '.join(names)} (their rows: {allowed})")
    columns = ", ".join(map(str, table.columns))
    raise ConfigError(f"the table names no rows by its columns {columns} (allowed: {allowed})")


def find_rows(table: "pd.DataFrame", owner: Owner, store: GraphStore) -> np.ndarray:
    """Return the rows of an owner that a table names; all edges where a pair has several.

    Raises:
        DataError: there is no such row; names the column and the value.
    """
    columns = _columns(table, key_columns(owner, store))
    if not isinstance(owner, str):
        return _edges(columns, owner, store)
    ((name, column),) = columns.items()
    if owner in store.collections:
        return _numbers(column, num_rows(store, owner), owner)
    return rows_of(column, f"column {name!r}", store, owner)


def find_pairs(
    table: "pd.DataFrame", task: BoundLinks, store: GraphStore
) -> tuple[np.ndarray, np.ndarray]:
    """Return both nodes of the pairs that a table lists.

    Raises:
        DataError: there is no such node; names the column and the value.
    """
    return _ends(_columns(table, ("src", "dst")), task.node_types, store)


def _columns(table: "pd.DataFrame", names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    missing = [name for name in names if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns)) or "none that the signature has"
        raise DataError(f"expected a table with columns {', '.join(names)}, found {found}")
    try:
        return {name: pa.chunked_array([pa.array(table[name])]) for name in names}
    except pa.ArrowException as error:
        raise DataError(f"columns {', '.join(names)}: {error}") from error


def _ends(
    columns: Mapping[str, pa.ChunkedArray], kinds: Sequence[str], store: GraphStore
) -> tuple[np.ndarray, np.ndarray]:
    src, dst = (
        rows_of(column, f"column {name!r}", store, kind)
        for (name, column), kind in zip(columns.items(), kinds, strict=True)
    )
    return src, dst


def _edges(
    columns: Mapping[str, pa.ChunkedArray], owner: tuple[str, str, str], store: GraphStore
) -> np.ndarray:
    src, dst = _ends(columns, (owner[0], owner[2]), store)
    first, last = store.topology().edges[owner].find(src, dst)
    if (first == last).any():
        line = int(np.flatnonzero(first == last)[0])
        ends = [column[line].as_py() for column in columns.values()]
        raise DataError(f"row {line}: no {text(owner)} goes from {ends[0]!r} to {ends[1]!r}")
    parts = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _numbers(column: pa.ChunkedArray, count: int, owner: str) -> np.ndarray:
    for line, value in enumerate(column.to_pylist()):
        if type(value) is not int or not 0 <= value < count:
            raise DataError(
                f"column 'graph', row {line}: {value!r} (allowed: 0 to {count - 1}, numbers of "
                f"{owner})"
            )
    return np.asarray(column, np.int64)
