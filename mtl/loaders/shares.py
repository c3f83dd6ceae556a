"""stream: a table that processes hold in equal shares, and how each gets the rows it wants."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from mtl.collective import Exchange
from mtl.loaders.samplers._tensors import rows_of

Rows: TypeAlias = Shaped[Tensor, "rows ..."]


class Shares:
    """Whose a row is: row i of a table is with process `i // ceil(rows / processes)`.

    Args:
        num_rows: of the table.
        exchange: to the other processes.
    """

    def __init__(self, num_rows: int, exchange: Exchange) -> None:
        self._exchange = exchange
        self._share = max(-(-num_rows // exchange.world_size), 1)
        first = min(exchange.rank * self._share, num_rows)
        self.mine = slice(first, min(first + self._share, num_rows))
        """Which rows are this process's."""

    def fetch(
        self, ids: Int[Tensor, " rows"], answer: Callable[[Int[Tensor, " asked"]], Rows]
    ) -> Rows:
        """Return the rows of these ids: every process calls this, and answers while it asks.

        Args:
            ids: of rows, in any order, on the device of the tables.
            answer: returns rows of this process's share, by their numbers in it.
        """
        size = self._exchange.world_size
        owner = ids // self._share
        order = owner.argsort(stable=True)
        everyone = torch.arange(size, device=ids.device)
        ends = torch.searchsorted(rows_of(owner, order), everyone, right=True)
        asked = ends.diff(prepend=ends.new_zeros(1))[:, None]
        told = self._exchange.all_to_all(asked, [1] * size, [1] * size)
        send, receive = torch.cat([asked, told], 1).T.tolist()
        wanted = self._bytes_of(rows_of(ids, order), send, receive) - self.mine.start
        sorted_rows = self._bytes_of(answer(wanted), receive, send)
        return torch.empty_like(sorted_rows).index_copy_(0, order, sorted_rows)

    def _bytes_of(self, rows: Rows, send: list[int], receive: list[int]) -> Rows:
        """Exchange rows of any type as bytes: gloo does not know them all."""
        columns = rows.shape[1:]
        width = math.prod(columns) * rows.itemsize
        flat = rows.reshape(-1) if rows.numel() else rows.new_empty(0)  # NumPy may stride by 0
        as_bytes = flat.view(torch.uint8).view(len(rows), width)
        received = self._exchange.all_to_all(as_bytes, send, receive)
        return received.view(-1).view(rows.dtype).view(len(received), *columns)
