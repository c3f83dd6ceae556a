"""The raw files of Planetoid: pickles, so nothing but arrays is ever unpickled from them."""

import pickle
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct
from scipy.sparse import csr_matrix

from mtl.errors import DataError

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
ALLOWED: dict[tuple[str, str], Any] = {
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("collections", "defaultdict"): defaultdict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("scipy.sparse.csr", "csr_matrix"): csr_matrix,
    ("scipy.sparse._csr", "csr_matrix"): csr_matrix,
}


class _Unpickler(pickle.Unpickler):
    """Refuse every global that Planetoid's files do not need: a pickle could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return ALLOWED[module, name]


def read_raw(path: Path) -> np.ndarray:
    """Return the graph as int64 [2, pairs], test ids as int64 [ids], else float32 [rows, columns].

    Raises:
        DataError: the file is broken, or a pickle that names anything but arrays.
    """
    try:
        if path.name.endswith(".test.index"):
            return np.array(path.read_text().split(), np.int64)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of the old pickles' dtypes
            content = _Unpickler(file, encoding="latin1").load()
        return _pairs(content) if path.name.endswith(".graph") else _matrix(content)
    except Exception as error:  # a broken pickle may raise any exception
        raise DataError(f"{path}: cannot be read as a Planetoid file: {error}") from error


def _pairs(graph: Any) -> np.ndarray:
    """Return the pairs (paper, neighbour) as the file has them: some twice, some self loops."""
    src = np.repeat(np.array(list(graph), np.int64), [len(ids) for ids in graph.values()])
    return np.stack([src, np.array([i for ids in graph.values() for i in ids], np.int64)])


def _matrix(content: Any) -> np.ndarray:
    if isinstance(content, csr_matrix):
        parts = (content.data, content.indices, content.indptr)
        matrix = csr_matrix(parts, shape=content._shape)
        matrix.check_format(full_check=True)  # scipy would read out of range
        content = matrix.toarray()
    rows = np.asarray(content).astype(np.float32)
    if rows.ndim != 2:
        raise ValueError(f"{rows.ndim} dimensions instead of 2")
    return rows
