"""A single value of a PyG graph as the array that a graph folder holds; None where it is none."""

import math
from typing import Any

import numpy as np
import torch
from torch_geometric.utils import is_sparse

from mtl.graphs.schema import Kind

Column = tuple[str, Kind, np.ndarray]


def array_of(value: Any) -> np.ndarray | None:
    """Return the array behind a tensor; bfloat16 as the uint16 that the folder stores."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, torch.Tensor) and not is_sparse(value):
        return None
    tensor = value.to_dense() if is_sparse(value) else value.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.uint16))
    return np.asarray(tensor)


def columns(array: np.ndarray) -> np.ndarray:
    """Return [rows, columns], however many rows there are."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def features(array: np.ndarray) -> np.ndarray | None:
    """Return [rows, columns]; all but half precision become float32."""
    if array.ndim > 2 or array.dtype.kind not in "biuf":
        return None
    rows = columns(array)
    return rows if rows.dtype.name in ("float16", "uint16") else rows.astype(np.float32, copy=False)


def whole(array: np.ndarray) -> np.ndarray | None:
    """Return int64 [rows], where all are whole numbers."""
    flat = _flat(array)
    if flat.ndim > 1 or flat.dtype.kind not in "iuf" or not np.isfinite(flat).all():
        return None
    numbers = flat.astype(np.int64)
    return numbers if np.array_equal(numbers, flat) else None


def weight(array: np.ndarray) -> np.ndarray | None:
    """Return float32 [rows], where all can be weights: finite and not negative."""
    flat = _flat(array)
    if flat.ndim > 1 or flat.dtype.kind not in "biuf":
        return None
    return flat.astype(np.float32) if (np.isfinite(flat) & (flat >= 0)).all() else None


def mask(array: np.ndarray) -> np.ndarray | None:
    """Return bool [rows, splits]."""
    rows = columns(array)
    fits = array.ndim <= 2 and (array.dtype == bool or np.isin(array, (0, 1)).all())
    return rows.astype(bool) if fits else None


def labels(array: np.ndarray, name: str) -> list[Column] | None:
    """Return (name, kind, values) of each label; negative classes and NaN are missing.

    Whole numbers are a class, and so are 0.0 and 1.0 alone; others are a regression. Of several
    columns, a multilabel where all are 0 or 1, else one label each.
    """
    flat = _flat(array)
    if flat.ndim > 2 or flat.dtype.kind not in "biuf":
        return None
    if flat.ndim == 1:
        return [_label(name, _binary(flat))]
    flat = np.nan_to_num(flat, nan=-1) if flat.dtype.kind == "f" else flat.astype(np.int64)
    if np.isin(flat, (-1, 0, 1)).all():
        return [(name, "multilabel", flat.astype(np.int8))]
    return [_label(f"{name}_{index}", column) for index, column in enumerate(_flat(array).T)]


def shown(value: Any) -> str:
    """Describe a value in a few characters."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(shape)}"


def _label(name: str, values: np.ndarray) -> Column:
    if values.dtype.kind == "f":
        return name, "regression", values
    classes = values.astype(np.int64)
    return name, "class", np.where(classes < 0, -1, classes)


def _binary(values: np.ndarray) -> np.ndarray:
    """Return 0.0 and 1.0 as whole numbers, NaN as -1, where both are there and nothing else."""
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values[:0]
    both = len(known) and known.min() == 0 and known.max() == 1 and np.isin(known, (0, 1)).all()
    return np.nan_to_num(values, nan=-1).astype(np.int64) if both else values


def _flat(array: np.ndarray) -> np.ndarray:
    """Return a single column as [rows]."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
