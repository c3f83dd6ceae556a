"""Processes that share a graph out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from torch import Tensor


class Wire:
    """One of the processes of a job, as a thread: a queue from each to each.

    Args:
        rank: of this one.
        queues: of all.
    """

    def __init__(self, rank: int, queues: list[list[SimpleQueue[Tensor]]]) -> None:
        self.rank, self.world_size, self._queues = rank, len(queues), queues

    def all_to_all(self, rows: Tensor, send: list[int], receive: list[int]) -> Tensor:
        """Send the first `send[0]` rows to process 0, and so on; return what comes, by process."""
        assert (len(rows), len(receive)) == (sum(send), self.world_size)
        for to, part in enumerate(torch.split(rows, send)):
            self._queues[self.rank][to].put(part)
        parts = [self._queues[source][self.rank].get(timeout=5) for source in range(len(receive))]
        assert [len(part) for part in parts] == receive
        return torch.cat(parts)


@pytest.fixture(scope="session")
def on_all() -> Callable[[int, Callable[[Wire], Any]], list[Any]]:
    """Do something on each of so many processes at the same time; return what they find."""

    def do(size: int, action: Callable[[Wire], Any]) -> list[Any]:
        queues = [[SimpleQueue[Tensor]() for _ in range(size)] for _ in range(size)]
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(action, [Wire(rank, queues) for rank in range(size)]))

    return do
