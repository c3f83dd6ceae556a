"""export: which tables a model takes and gives, as MLflow checks them; and one that it takes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from job.export_rows import beside
from job.export_table import ASKED_FOR, key_columns
from job.prediction_columns import Columns, predicted
from job.prediction_names import row_names
from job.prediction_passes import scored
from mtl.graphs.schema import GraphInfo, Owner
from mtl.graphs.store import GraphStore
from mtl.tasks import Task
from mtl.tasks._elsewhere import bind_elsewhere, num_rows
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import BoundTask

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

EXAMPLE_ROWS = 2


def describe(
    options: Mapping[str, Task], store: GraphStore, trained: GraphInfo
) -> tuple["ModelSignature", tuple["pd.DataFrame", dict[str, Any]]]:
    """Return the signature of a model of some tasks, and a table with the parameters to ask it.

    A column is needed or not, as the task has it, so MLflow checks types, and we what is missing.

    Args:
        options: of the tasks, by name.
        store: the graph that they were trained on.
        trained: what it is like.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    tasks = {name: bind_elsewhere(task, name, store, trained) for name, task in options.items()}
    names = [n for n, task in options.items() if task.type not in ASKED_FOR] or list(tasks)
    owner = tasks[names[0]].owner
    named = len({tasks[name].owner for name in names}) > 1
    shown = names[:1] if named else names
    found = {name: _columns(tasks[name], store) for name in shown}
    empty = {n: c.table(np.empty(0, np.int64), torch.empty(0, c.width)) for n, c in found.items()}
    answer = empty[names[0]] if named else beside(empty)
    signature = ModelSignature(
        inputs=Schema([ColSpec(t, n, required=False) for n, t in _keys(tasks, store).items()]),
        outputs=Schema([ColSpec(_type(field.type), field.name) for field in answer.schema]),
        params=ParamSchema(
            [
                ParamSpec("task", "string", ""),
                ParamSpec("graph", "string", ""),
                ParamSpec("all_rows", "boolean", False),
            ]
        ),
    )
    return signature, (_example(owner, store), {"task": names[0]} if named else {})


def _columns(task: BoundTask, store: GraphStore) -> Columns:
    """Return what is predicted of a task."""
    if isinstance(task, BoundLinks):
        none = np.empty(0, np.int64)
        return scored((none, none), store, {task.name: task}, {}).columns[task.name]
    return replace(predicted(task, store, "all", {}), label=None, split=None)


def _keys(tasks: Mapping[str, BoundTask], store: GraphStore) -> dict[str, Any]:
    """Return the columns that name rows, and their types; any where those differ."""
    from mlflow.types.schema import AnyType, DataType

    found: dict[str, set[DataType]] = {}
    for task in tasks.values():
        keys = key_columns(task.owner, store)
        kinds = task.node_types if len(keys) == 2 else (task.owner,)
        for key, kind in zip(keys, kinds, strict=True):
            ids = store.ids(str(kind)) if key in ("id", "src", "dst") else None
            words = ids is not None and ids.offsets is not None
            found.setdefault(key, set()).add(DataType.string if words else DataType.long)
    return {key: types.pop() if len(types) == 1 else AnyType() for key, types in found.items()}


def _type(kind: pa.DataType) -> Any:
    """Return MLflow's name of a type of Arrow."""
    from mlflow.types.schema import Array

    if pa.types.is_list(kind):
        return Array(_type(kind.value_type))
    names = {
        pa.int64(): "long",
        pa.float32(): "float",
        pa.float64(): "double",
        pa.bool_(): "boolean",
    }
    return names.get(kind, "string")


def _example(owner: Owner, store: GraphStore) -> "pd.DataFrame":
    """Return a table that names the first rows."""
    rows = np.arange(min(EXAMPLE_ROWS, num_rows(store, owner)))
    columns = row_names(store, owner).of(rows)
    return pa.table({key: columns[key] for key in key_columns(owner, store)}).to_pandas()
