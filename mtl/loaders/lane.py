"""stream: batches made beside the model's work: on a GPU in a queue of their own."""

from functools import cache
from typing import NamedTuple, TypeAlias

import torch
from torch_geometric.data import Data, HeteroData

from mtl.loaders.microbatch import MicrobatchLoader

Batch: TypeAlias = Data | HeteroData


class Made(NamedTuple):
    """A batch, and when the device will have made it; None where it is made."""

    batch: Batch
    done: torch.cuda.Event | None


@cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all lanes of a device: torch keeps freed memory for each by itself."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Lane:
    """Makes batches for a device: threads call `make`, and who computes with a batch calls `take`.

    A CUDA stream does what it is asked to in order, so lanes have one of their own: the device
    makes the next batch while it trains on this one. What the host has made goes there, too.

    Args:
        loader: makes a microbatch of a number.
        device: where batches are wanted.
    """

    def __init__(self, loader: MicrobatchLoader, device: torch.device) -> None:
        self._loader = loader
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = _beside(torch.empty(0, device=device).device)  # with its number

    def make(self, number: int | None) -> Made:
        """Make the microbatch of a number, or have the device make it."""
        if self._stream is None:
            return Made(self._loader([number]), None)
        with torch.cuda.stream(self._stream):
            batch = self._loader([number])
            if self._loader.node_sampler.device.type == "cpu":
                batch = batch.pin_memory().to(self._stream.device, non_blocking=True)
            return Made(batch, self._stream.record_event())

    def take(self, made: Made) -> Batch:
        """Return a batch to the thread that computes with it: the device waits, the host does not.

        Its memory is not used again before that has been computed.
        """
        if self._stream is not None and made.done is not None:
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_event(made.done)
            made.batch.record_stream(current)
        return made.batch
