"""stream: where features live: mapped on the host, or in a table on the device; rows of them."""

from abc import ABC, abstractmethod
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.graphs.schema import Owner
from mtl.graphs.store import GraphStore
from mtl.loaders.gather import gather

CHUNK_BYTES = 1 << 26
_tables: WeakKeyDictionary[GraphStore, dict[object, "OnDevice"]] = WeakKeyDictionary()


class Residence(ABC):
    """The features of all nodes or edges of a type."""

    @abstractmethod
    def gather(self, ids: Int[Tensor, " rows"]) -> Float[Tensor, "rows features"]:
        """Return the features of some, on the device of `ids`."""


class OnHost(Residence):
    """A map: rows are read, and rounded, when they are asked for; a GPU gets them behind its work.

    Args:
        features: of all.
        dtype: bfloat16 rounds them to it, see `gather`.
    """

    def __init__(
        self, features: Float[Tensor, "all features"], dtype: torch.dtype | None = None
    ) -> None:
        self._features, self._dtype = features, dtype

    def gather(self, ids: Int[Tensor, " rows"]) -> Float[Tensor, "rows features"]:
        """Return rows of the map."""
        rows = gather(self._features, ids.cpu().numpy(), self._dtype, pinned=ids.is_cuda)
        return rows.to(ids.device, non_blocking=True)


class OnDevice(Residence):
    """A table on the device, rounded once.

    Args:
        features: of all, on the host.
        dtype: bfloat16 rounds them to it, see `gather`.
        device: where they go.
    """

    def __init__(
        self,
        features: Float[Tensor, "all features"],
        dtype: torch.dtype | None,
        device: torch.device,
    ) -> None:
        size, width = features.shape
        stored = gather(features, np.empty(0, np.int64), dtype).dtype
        self._table = torch.empty(size, width, dtype=stored, device=device)
        step = max(CHUNK_BYTES // max(width * features.itemsize, 1), 1)
        for start in range(0, size, step):
            rows = np.arange(start, min(start + step, size))
            self._table[start : start + step] = gather(features, rows, dtype)

    def gather(self, ids: Int[Tensor, " rows"]) -> Float[Tensor, "rows features"]:
        """Return rows of the table."""
        return self._table.index_select(0, ids)


def residence(
    store: GraphStore,
    owner: Owner,
    dtype: torch.dtype | None,
    device: torch.device,
    where: Literal["device", "host"],
) -> Residence | None:
    """Return where the features of a node type or an edge type live; None where it has none.

    Of one graph there is one table on a device, whoever asks.
    """
    features = store.features(owner) if isinstance(owner, str) else store.edge_features(owner)
    if features is None or where == "host":
        return None if features is None else OnHost(features, dtype)
    tables, key = _tables.setdefault(store, {}), (owner, dtype, device)
    if key not in tables:
        tables[key] = OnDevice(features, dtype, device)
    return tables[key]
