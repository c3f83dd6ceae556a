"""stream: features that no process holds all of: each its share, fetched from the others by row.

The topology is everywhere, so sampling needs nobody; the rows of a batch come by all-to-all.
"""

from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data, FeatureStore, HeteroData, TensorAttr

from mtl.collective import Exchange
from mtl.loaders.gather import gather
from mtl.loaders.shares import Shares

Batch: TypeAlias = Data | HeteroData
Ids: TypeAlias = Int[np.ndarray, " rows"]


class ShardedFeatures(FeatureStore):
    """The features of the nodes of each type, row i with process `i // ceil(nodes / processes)`.

    Every process asks at the same time, and answers the others while it does: `get_tensor` and
    `fetch` are collective, and one thread makes all exchanges, in the order in which they are asked
    for.

    Args:
        features: of all nodes, by type, as maps: of these only the rows of this process are read.
        exchange: to the other processes.
    """

    def __init__(self, features: Mapping[str, Float[Tensor, "_ _"]], exchange: Exchange) -> None:
        super().__init__()
        self._shapes = {kind: tuple(x.shape) for kind, x in features.items()}
        self._shares = {kind: Shares(len(x), exchange) for kind, x in features.items()}
        self._mine = {kind: x[self._shares[kind].mine] for kind, x in features.items()}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="features")

    def fetch(
        self, ids: Mapping[str, Ids], dtype: torch.dtype | None = None
    ) -> dict[str, Float[Tensor, "rows features"]]:
        """Return the features of some nodes.

        Args:
            ids: of the nodes of each type, in any order.
            dtype: bfloat16 rounds them to it, before they are sent.
        """
        return self._thread.submit(self._fetch, ids, dtype).result()

    def join(self, batches: Generator[Batch], dtype: torch.dtype | None) -> Generator[Batch]:
        """Yield batches with their features, those of the next one on their way meanwhile.

        Every process takes as many, so that each exchange that one has begun is made by all.
        """
        waiting: Future[Batch] | None = None
        try:
            for batch in batches:
                before, waiting = waiting, self._thread.submit(self._joined, batch, dtype)
                if before is not None:
                    yield before.result()
            if waiting is not None:
                yield waiting.result()
        finally:
            batches.close()
            if waiting is not None:
                wait([waiting])  # the others wait for its answers

    def _joined(self, batch: Batch, dtype: torch.dtype | None) -> Batch:
        parts = {
            kind: batch[kind] if isinstance(batch, HeteroData) else batch for kind in self._mine
        }
        found = self._fetch({kind: part["n_id"].numpy() for kind, part in parts.items()}, dtype)
        for kind, part in parts.items():
            part["x"] = found[kind]
            if "masked" in part:
                part["x"][part["masked"]] = 0
        return batch

    def _fetch(self, ids: Mapping[str, Ids], dtype: torch.dtype | None) -> dict[str, Tensor]:
        return {
            kind: shares.fetch(torch.from_numpy(ids[kind]), partial(self._answer, kind, dtype))
            for kind, shares in self._shares.items()
            if kind in ids
        }

    def _answer(self, kind: str, dtype: torch.dtype | None, rows: Tensor) -> Tensor:
        return gather(self._mine[kind], rows.numpy(), dtype)

    def _get_tensor(self, attr: TensorAttr) -> Tensor | None:
        if attr.attr_name != "x" or attr.group_name not in self._mine:
            return None
        rows = np.arange(self._shapes[attr.group_name][0])
        if attr.index is not None:
            rows = rows[attr.index]
        return self.fetch({attr.group_name: rows})[attr.group_name]

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...] | None:
        return self._shapes.get(attr.group_name)

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """Return what there is: `x` of each type."""
        return [TensorAttr(kind, "x") for kind in self._mine]

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> bool:
        return False

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        return False
