"""predict: what is computed together, in which chunks, and in which part of the output it lands.

Chunks and parts follow from the configuration and the graph alone: no argument knows about
processes. What evaluation counts comes first and in its order, so that its chunks are ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from job.config import JobConfig
from job.evaluation import stream_maker
from job.prediction_columns import Columns
from job.runtime import Runtime
from mtl.graphs.store import GraphStore
from mtl.loaders.stream import Stream
from mtl.tasks._asked import Asked, AskedPairs
from mtl.tasks._links import BoundLinks
from mtl.tasks.bound import SPLITS, BoundTask

MIN_CHUNKS = 10
"""Of edges that evaluation does not score: each hides a tenth of them at most."""
MAX_CHUNKS_PER_PART, WANTED_PARTS = 64, 32


class Segment(NamedTuple):
    """Seeds that are cut into chunks together.

    Attributes:
        split: whose times and draws they have.
        seeds: in the order of the chunks.
        spread: whether neighbours in the file should not meet in a chunk: edges into the same node
            would all be hidden at once.
    """

    split: str
    seeds: np.ndarray
    spread: bool = False

    def chunk_size(self, batch_size: int) -> int:
        """Return how many seeds a chunk has, the last one fewer."""
        if not self.spread:
            return batch_size
        return max(-(-len(self.seeds) // max(-(-len(self.seeds) // batch_size), MIN_CHUNKS)), 1)

    def ordered(self, size: int) -> np.ndarray:
        """Return the seeds in the order of their chunks."""
        if not self.spread:
            return self.seeds
        stride = -(-len(self.seeds) // size)
        return np.concatenate([self.seeds[i::stride] for i in range(max(stride, 1))])


class Part(NamedTuple):
    """One file of each output: a range of the chunks of a segment."""

    number: int
    chunks: range


@dataclass(frozen=True, eq=False)
class Pass:
    """The tasks of one owner, which one batch serves.

    Attributes:
        tasks: that read the batch, by name.
        columns: what is written, by folder.
        segments: of the seeds.
    """

    tasks: Mapping[str, Asked | AskedPairs]
    columns: Mapping[str, Columns]
    segments: Sequence[Segment]

    @property
    def group(self) -> str:
        """Name of the group of seeds."""
        return next(iter(self.tasks.values())).group

    def parts(self, batch_size: int) -> Iterator[tuple[Segment, list[Part]]]:
        """Yield the parts of each segment; without any seed there is one, which is empty."""
        number = 0
        for segment in self.segments:
            num_chunks = -(-len(segment.seeds) // segment.chunk_size(batch_size))
            size = max(1, min(num_chunks // WANTED_PARTS, MAX_CHUNKS_PER_PART))
            starts = range(0, num_chunks, size)
            parts = [
                Part(number + i, range(s, min(s + size, num_chunks))) for i, s in enumerate(starts)
            ]
            number += len(parts)
            yield segment, parts
        if not number:
            yield Segment("test", np.empty(0, np.int64)), [Part(0, range(0))]


def segments(tasks: Sequence[BoundTask], num_rows: int, split: str) -> list[Segment]:
    """Cut the rows of an owner into segments, each row in the first that it fits.

    Args:
        tasks: those of the run that label the owner; which of them are asked for changes nothing.
        num_rows: nodes, edges or graphs.
        split: all, or one.
    """
    found, left = [], np.ones(num_rows, bool)
    edges = not isinstance(tasks[0].owner, str) if tasks else False
    for name in ("test", "val", "train") if split == "all" else (split,):
        member, labelled = np.zeros(num_rows, bool), np.zeros(num_rows, bool)
        for task in tasks:
            member |= task.split == SPLITS[name]
            labelled[task.seeds(name)] = True
        evaluated = np.flatnonzero(labelled & left)
        found.append(Segment(name, evaluated, edges and name == "train"))
        found.append(Segment(name, np.flatnonzero(member & ~labelled & left), edges))
        left &= ~member
    if split == "all":
        found.append(Segment("test", np.flatnonzero(left), edges))
    return [segment for segment in found if len(segment.seeds)]


def open_stream(
    config: JobConfig,
    store: GraphStore,
    trained: Mapping[str, BoundTask],
    job: Pass,
    segment: Segment,
    runtime: Runtime,
    num_hops: int | None = None,
) -> Stream:
    """Make the stream of the chunks of a segment, as evaluation makes its own.

    Args:
        config: of the run.
        store: the graph.
        trained: the tasks of the run: what they hold out stays hidden.
        job: whose segment it is.
        segment: of the seeds.
        runtime: knows the cores and the precision.
        num_hops: fewer than the encoder looks at, where the rest is known.
    """
    size = segment.chunk_size(config.evaluate.batch_size)
    links = {f"{n} holds out": t for n, t in trained.items() if isinstance(t, BoundLinks)}
    return stream_maker(config, runtime, size)(
        store,
        {**links, **job.tasks},
        split=segment.split,
        only=list(job.tasks),
        seeds={job.group: segment.ordered(size)},
        num_hops=config.model.encoder.num_hops if num_hops is None else num_hops,
    )
