"""The raw files of Planetoid: pickles, of which nothing but numbers, lists and arrays is read."""

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from mtl.errors import DataError, RefusedError
from mtl.graphs._csr import Csr

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")


class _Dtype:
    """In the place of numpy's, whose state may be anything: plain numbers alone."""

    def __init__(self, name: str, *_: object) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "biuf":
            raise ValueError(f"an array of {self.dtype}; allowed: numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """In the place of numpy's, whose state may point anywhere: bytes are checked and copied."""

    def __init__(self, *_: object) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        values = np.frombuffer(data, dtype.dtype)
        self.values = values.reshape(shape, order="F" if fortran else "C").copy()


class _Matrix:
    """In the place of scipy's: `data`, `indices`, `indptr` and `_shape`."""

    data: _Array
    indices: _Array
    indptr: _Array
    _shape: tuple[int, int]


ALLOWED: dict[tuple[str, str], Any] = {
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("collections", "defaultdict"): defaultdict,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _Matrix,
    ("scipy.sparse._csr", "csr_matrix"): _Matrix,
}


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Refuse every global that Planetoid's files do not need: a pickle could run any code.

    Python's own unpickler, not that in C, which takes all memory where a file says so.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise RefusedError(f"it names {module}.{name}, which is not allowed")
        return ALLOWED[module, name]


def read_raw(path: Path) -> np.ndarray:
    """Return the graph as int64 [2, pairs], test ids as int64 [ids], else float32 [rows, columns].

    Raises:
        DataError: the file is broken.
        RefusedError: it is a pickle that names anything but arrays.
    """
    try:
        if path.name.endswith(".test.index"):
            return np.array(path.read_text().split(), np.int64)
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
        return _pairs(content) if path.name.endswith(".graph") else _rows(content)
    except Exception as error:  # a broken pickle may raise any exception
        kind = RefusedError if isinstance(error, RefusedError) else DataError
        raise kind(f"{path}: cannot be read as a Planetoid file: {error}") from error


def _pairs(graph: Any) -> np.ndarray:
    """Return the pairs (paper, neighbour) as the file has them: some twice, some self loops."""
    papers, neighbours = list(graph), [i for ids in graph.values() for i in ids]
    if not all(isinstance(paper, int) for paper in (*papers, *neighbours)):
        raise ValueError("a paper that is no whole number")
    src = np.repeat(np.array(papers, np.int64), [len(ids) for ids in graph.values()])
    return np.stack([src, np.array(neighbours, np.int64)])


def _rows(content: Any) -> np.ndarray:
    if isinstance(content, _Array):
        with np.errstate(over="ignore"):
            rows = content.values.astype(np.float32)
    elif isinstance(content, _Matrix):
        parts = (content.data.values, content.indices.values, content.indptr.values)
        rows = Csr(*parts, content._shape).dense()
    else:
        raise ValueError(f"{type(content).__name__} instead of an array")
    if rows.ndim != 2:
        raise ValueError(f"{rows.ndim} dimensions instead of 2")
    if not np.isfinite(rows).all():
        raise ValueError("a value that is no finite number")
    return rows
