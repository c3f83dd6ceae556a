"""predict: the parts of the output that are not there yet, over all processes."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from job.config import JobConfig
from job.evaluation import stream_maker
from job.layerwise import Layers, ReadModel
from job.prediction import Part, Pass, Segment, open_stream
from job.prediction_files import is_whole, part_path, write_part
from job.progress import Progress
from job.runtime import Runtime
from mtl.graphs.store import GraphStore
from mtl.loaders.stream import Batch, Stream
from mtl.models.multitask import MultiTaskModel
from mtl.tasks.bound import BoundTask


class Parts:
    """The parts of some passes, shared out over the processes.

    Args:
        config: of the run.
        out_dir: holds a folder of parts for each output.
        store: the graph.
        tasks: all of the run, by name.
        model: in evaluation mode, on its device.
        runtime: this process among all.
    """

    def __init__(
        self,
        config: JobConfig,
        out_dir: Path,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        model: torch.nn.Module,
        runtime: Runtime,
    ) -> None:
        assert isinstance(model, MultiTaskModel)
        self._config, self._out_dir, self._store = config, out_dir, store
        self._tasks, self._model, self._runtime = tasks, model, runtime
        self._batch_size = config.evaluate.batch_size

    def compute(self, passes: Sequence[Pass]) -> None:
        """Compute what is missing; which that is, all processes agree on first.

        A stop while layers are computed for all nodes ends the job at once: none is kept.

        Raises:
            StoppedError: a process was asked to stop.
        """
        todo = [
            (job, segment, self._missing(job, parts))
            for job in passes
            for segment, parts in job.parts(self._batch_size)
        ]
        make = stream_maker(self._config, self._runtime, self._batch_size)
        layers = Layers(self._config, self._store, self._tasks, make, self._runtime)
        wanted = (self._open(job, segment, layers) for job, segment, parts in todo if parts)
        reader = layers.reader(self._model, wanted, show=True)
        self._runtime.defer_signals()
        num_chunks = sum(len(part.chunks) for *_, parts in todo for part in parts)
        progress = Progress("predict", num_chunks) if self._runtime.is_main else None
        if progress:
            progress.start(0)
        done = 0
        try:
            for job, segment, parts in todo:
                if parts:
                    stream = self._open(job, segment, layers)
                    done = self._segment(job, stream, reader(stream), parts, progress, done)
        finally:
            if progress:
                progress.stop()

    def _missing(self, job: Pass, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that no process sees whole, in all folders of the pass."""
        there = [
            all(is_whole(part_path(self._out_dir / name, part.number)) for name in job.columns)
            for part in parts
        ]
        seen = self._runtime.sum(torch.tensor(there, device=self._runtime.device).int())
        return [part for part, count in zip(parts, seen.tolist(), strict=True) if not count]

    def _segment(
        self,
        job: Pass,
        stream: Stream,
        model: torch.nn.Module,
        parts: Sequence[Part],
        progress: Progress | None,
        done: int,
    ) -> int:
        """Compute parts of a segment, one a process at a time; return how many chunks are done."""
        runtime = self._runtime
        width, rank = runtime.world_size, runtime.rank
        rounds = [parts[i : i + width] for i in range(0, len(parts), width)]
        mine = [some[rank] if rank < len(some) else None for some in rounds]
        numbers = [chunk for part in mine if part is not None for chunk in part.chunks]
        with closing(_batches(job, stream, numbers)) as batches:
            for some, part in zip(rounds, mine, strict=True):
                if part is not None:
                    self._part(job, part, batches, model)
                done += sum(len(each.chunks) for each in some)
                if progress:
                    progress.advance(done, len(some) * self._batch_size)
                runtime.check_stop(f"after {done} chunks")
        return done

    def batches(
        self, job: Pass, segment: Segment, numbers: Sequence[int]
    ) -> Generator[tuple[np.ndarray, Batch]]:
        """Yield the seeds and the batch of each chunk, with the neighbours that it needs."""
        if numbers:
            yield from _batches(job, self._open(job, segment), numbers)

    def _open(self, job: Pass, segment: Segment, layers: Layers | None = None) -> Stream:
        """Open the stream of a segment; of seeds alone where layers say so."""
        make = partial(
            open_stream, self._config, self._store, self._tasks, job, segment, self._runtime
        )
        return make() if layers is None else layers.seeds(make)

    def _part(
        self,
        job: Pass,
        part: Part,
        batches: Iterator[tuple[np.ndarray, Batch]],
        model: torch.nn.Module,
    ) -> None:
        """Compute and write one part of each folder; a stop leaves it unwritten."""
        seeds: list[np.ndarray] = [np.empty(0, np.int64)]
        values = {
            name: [torch.empty(0, columns.width, dtype=self._runtime.dtype)]
            for name, columns in job.columns.items()
        }
        for _ in part.chunks:
            if self._runtime.stop_requested:
                return
            its, batch = next(batches)
            seeds.append(its.astype(np.int64))
            for name, found in self.values(job, batch, model).items():
                values[name].append(found)
        for name, columns in job.columns.items():
            path = part_path(self._out_dir / name, part.number)
            if not is_whole(path):
                write_part(path, columns.table(np.concatenate(seeds), torch.cat(values[name])))

    @torch.no_grad()
    def values(
        self, job: Pass, batch: Batch, model: torch.nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Return what each folder holds of the seeds of a batch.

        Args:
            job: whose batch it is.
            batch: of its stream.
            model: embeds the seeds, where it is not the model itself.
        """
        embedding = self._model if model is None else model
        assert isinstance(embedding, MultiTaskModel | ReadModel)
        batch = batch.to(self._runtime.device)
        with self._runtime.autocast():
            embeddings = embedding.embed(batch)
            predictions = self._model.read(embeddings, batch)
        rows = batch.rows[next(iter(job.tasks))]
        found = {}
        for name, columns in job.columns.items():
            task, kind = columns.reads
            values = predictions[task] if kind is None else embeddings[task][kind][rows]
            found[name] = values.to("cpu", self._runtime.dtype)
        return found


def _batches(
    job: Pass, stream: Stream, numbers: Sequence[int]
) -> Generator[tuple[np.ndarray, Batch]]:
    with closing(stream.microbatches(numbers)) as batches:
        for number, batch in zip(numbers, batches, strict=True):
            yield stream.order.microbatch(number)[job.group], batch
