"""predict: rows and labels of a graph as columns of Arrow, under the user's own names."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtl.graphs.ids import Ids
from mtl.graphs.schema import Owner
from mtl.graphs.store import GraphStore, Label

Named = dict[str, pa.Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class RowNames:
    """How nodes, edges or graphs of an owner are called.

    Attributes:
        owner: whose rows they are.
        store: the graph.
        ids: of its nodes, or of both ends of its edges.
    """

    owner: Owner
    store: GraphStore
    ids: tuple[Ids | None, ...] = ()

    def of(self, rows: np.ndarray) -> Named:
        """Return `id` or `row`; or `graph`; or `src`, `dst` and `edge`."""
        if not isinstance(self.owner, str):
            csc = self.store.topology().edges[self.owner]
            ends = {"src": csc.row[rows].astype(np.int64), "dst": csc.destination(rows)}
            pairs = zip(ends.items(), self.ids, strict=True)
            return {n: id_of(ids, its) for (n, its), ids in pairs} | {"edge": id_of(None, rows)}
        if self.owner in self.store.collections:
            return {"graph": id_of(None, rows)}
        (ids,) = self.ids
        return {"row" if ids is None else "id": id_of(ids, rows)}


def row_names(store: GraphStore, owner: Owner) -> RowNames:
    """Look up how the rows of an owner are called."""
    if not isinstance(owner, str):
        return RowNames(owner=owner, store=store, ids=(store.ids(owner[0]), store.ids(owner[2])))
    ids = () if owner in store.collections else (store.ids(owner),)
    return RowNames(owner=owner, store=store, ids=ids)


def known(label: Label, rows: np.ndarray) -> pa.Array:
    """Return what is known of some rows: null where nothing is."""
    values = np.asarray(label.values[rows])
    if label.kind == "regression":
        return pa.array(values, mask=np.isnan(values))
    if label.kind == "multilabel":
        flat = values.ravel()
        return lists_of(pa.array(flat, mask=flat < 0), *values.shape)
    return named(values.astype(np.int64), label.classes)


def named(numbers: np.ndarray, names: tuple[str, ...] | None) -> pa.Array:
    """Return names, or numbers where there are none; null below 0."""
    places = pa.array(numbers, pa.int64(), mask=numbers < 0)
    return places if names is None else pa.array(names, pa.string()).take(places)


def id_of(ids: Ids | None, rows: np.ndarray) -> pa.Array:
    """Return the ids of nodes; their rows where they have none."""
    return pa.array(rows, pa.int64()) if ids is None else ids.take(rows)


def lists_of(flat: pa.Array, rows: int, width: int) -> pa.Array:
    """Return lists of the same width."""
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * width, pa.int32()), flat)
