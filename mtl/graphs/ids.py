"""Ids: the user's own ids of a type's nodes, so that predictions come back under their names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl.errors import DataError


@dataclass(frozen=True, eq=False)
class Ids:
    """The ids of a node type.

    Attributes:
        node_type: whose nodes they name.
        values: int64 [num_nodes]; of strings: the UTF-8 bytes of all, one after the other.
        offsets: of strings: where the bytes of each begin, and where the last ends.
    """

    node_type: str
    values: np.ndarray
    offsets: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> list[int] | list[str]:
        """Return the ids of nodes."""
        ids: list[int] | list[str] = self.take(rows).to_pylist()
        return ids

    def take(self, rows: np.ndarray) -> pa.Array:
        """Return the ids of nodes as an array of Arrow."""
        return self._arrow().take(pa.array(rows, pa.int64()))

    def rows(self, values: Sequence[int] | Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the nodes that have these ids, int64 [len(values)].

        Raises:
            DataError: no node has one of them; names it.
        """
        known = self._arrow()
        try:
            wanted = pa.array(values, known.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            kind = "whole numbers" if self.offsets is None else "strings"
            raise DataError(f"ids of {self.node_type!r} are {kind}: {error}") from error
        found = pc.index_in(wanted, value_set=known)
        if found.null_count:
            first = wanted[pc.index(found.is_null(), True).as_py()].as_py()
            more = f" (and {found.null_count - 1} more)" if found.null_count > 1 else ""
            raise DataError(f"no {self.node_type!r} has the id {first!r}{more}")
        return np.asarray(found).astype(np.int64)

    def _arrow(self) -> pa.Array:
        """Return the maps as an array of Arrow, without a copy."""
        if self.offsets is None:
            return pa.array(self.values)
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.values)]
        return pa.Array.from_buffers(pa.large_string(), len(self.offsets) - 1, buffers)
