"""stream: where features live: mapped on the host, or in a table that the device reads; rows."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.collective import Exchange
from mtl.graphs.schema import Owner
from mtl.graphs.store import GraphStore
from mtl.loaders import Where
from mtl.loaders.gather import gather
from mtl.loaders.samplers._tensors import rows_of
from mtl.loaders.shares import Shares

CHUNK_BYTES = 1 << 26
_tables: WeakKeyDictionary[GraphStore, dict[object, "Residence"]] = WeakKeyDictionary()


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


class Table(Residence):
    """A table that the device reads by itself, rounded once.

    Args:
        features: of all, on the host.
        dtype: bfloat16 rounds them to it, see `gather`.
        device: who reads it.
        where: it lies: on the device, or pinned in the memory of the host.
    """

    def __init__(
        self,
        features: Float[Tensor, "all features"],
        dtype: torch.dtype | None,
        device: torch.device,
        where: Literal["device", "pinned"],
    ) -> None:
        size, width = features.shape
        stored = gather(features, np.empty(0, np.int64), dtype).dtype
        far = where == "pinned" and device.type == "cuda" and features.numel() > 0
        place: dict[str, Any] = {"pin_memory": True} if far else {"device": device}
        table = torch.empty(size, width, dtype=stored, **place)
        step = max(CHUNK_BYTES // max(width * features.itemsize, 1), 1)
        for start in range(0, size, step):
            rows = np.arange(start, min(start + step, size))
            table[start : start + step] = gather(features, rows, dtype)
        self._table = torch.as_tensor(_Pinned(table), device=device).view(stored) if far else table

    def gather(self, ids: Int[Tensor, " rows"]) -> Float[Tensor, "rows features"]:
        """Return rows of the table."""
        return rows_of(self._table, ids)


class SharedTable(Residence):
    """A table of which each process has a share on its device: all ask at the same time.

    Args:
        features: of all, on the host.
        dtype: bfloat16 rounds them to it, see `gather`.
        device: where this process's share goes.
        exchange: to the other processes.
    """

    def __init__(
        self,
        features: Float[Tensor, "all features"],
        dtype: torch.dtype | None,
        device: torch.device,
        exchange: Exchange,
    ) -> None:
        self._shares = Shares(len(features), exchange)
        self._mine = Table(features[self._shares.mine], dtype, device, "device")

    def gather(self, ids: Int[Tensor, " rows"]) -> Float[Tensor, "rows features"]:
        """Return rows of the table, those of other processes fetched from them."""
        return self._shares.fetch(ids, self._mine.gather)


class _Pinned:
    """Memory of the host as CUDA shows it to a GPU: at the same address (unified addressing)."""

    def __init__(self, table: Float[Tensor, "all features"]) -> None:
        self._table = table  # lives as long as who reads it
        self.__cuda_array_interface__ = {
            "version": 3,
            "data": (table.data_ptr(), False),
            "shape": (len(table), table.size(1) * table.itemsize),
            "typestr": "|u1",
        }


def residence(
    store: GraphStore,
    owner: Owner,
    dtype: torch.dtype | None,
    device: torch.device,
    where: Where,
    exchange: Exchange | None = None,
) -> Residence | None:
    """Return where the features of a node type or an edge type live; None where it has none.

    With an exchange those on devices are shared out over the processes.

    Of one graph there is one table for a device, whoever asks.
    """
    features = store.features(owner) if isinstance(owner, str) else store.edge_features(owner)
    if features is None or where == "host":
        return None if features is None else OnHost(features, dtype)
    exchange = exchange if where == "device" else None
    tables, key = _tables.setdefault(store, {}), (owner, dtype, device, where, exchange)
    if key not in tables:
        tables[key] = (
            Table(features, dtype, device, where)
            if exchange is None
            else SharedTable(features, dtype, device, exchange)
        )
    return tables[key]


def residences(store: GraphStore, owners: Iterable[Any], *how: Any) -> dict[Any, Residence]:
    """Return where the features of those types live that have some; see `residence`."""
    found = {owner: residence(store, owner, *how) for owner in owners}
    return {owner: features for owner, features in found.items() if features is not None}
