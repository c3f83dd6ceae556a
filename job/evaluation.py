"""evaluation: every example of a split counts exactly once, whatever the number of processes.

Each process computes every W-th chunk of the split; then all processes take all predictions of the
round, in the order of the split, into metrics of their own. So the metrics are those of one
process to the last bit, and all processes decide alike.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

from job.comparison import sign
from job.confidence import Sample, intervals
from job.config import JobConfig
from job.gates import gate_shares, reset_gates
from job.layerwise import Layers
from job.runtime import Runtime, StoppedError
from job.scores import Scores, TaskScore, Watcher
from mtl.collective import Collective
from mtl.errors import ConfigError
from mtl.graphs.store import GraphStore
from mtl.loaders import ALL, neighbors_of
from mtl.loaders.stream import Stream, build_stream
from mtl.tasks.bound import BoundTask

ROWS = 1 << 13
Results = Mapping[str, Scores]
NONE: Mapping[str, Watcher] = {}


@torch.no_grad()
def evaluate(
    model: nn.Module,
    stream: Stream,
    collective: Collective,
    device: torch.device,
    watchers: Mapping[str, Watcher] = NONE,
    stops: Callable[[], bool] = lambda: False,
) -> dict[str, Scores]:
    """Return `{task: {metric: value}}` over the split of the stream, the same on every process.

    Args:
        model: anything that gives a prediction for each task of the stream.
        stream: of the split.
        collective: the processes that share the split out.
        device: of the model.
        watchers: get what the metrics get.
        stops: whether this process was asked to stop; then all end together.

    Raises:
        StoppedError: a process was asked to stop.
    """
    tasks = stream.loader.tasks
    scores = {name: TaskScore(task, watchers.get(name)) for name, task in tasks.items()}
    was_training = model.training
    model.eval()
    for chunks, batch in _rounds(stream, collective):
        predictions = model(batch.to(device))
        flat = [predictions[name].flatten() for name in tasks]
        mine = torch.cat([*flat, flat[0].new_tensor([stops()])])
        reads = [stream.loader.reads(chunk) for chunk in chunks]
        lengths = [
            [len(seeds) * tasks[name].num_outputs for name, seeds in read.items()] for read in reads
        ]
        everyone = [x.cpu() for x in collective.gather(mine, [sum(each) + 1 for each in lengths])]
        if any(x[-1] for x in everyone):
            raise StoppedError("stopped while it evaluated; the same command goes on")
        for read, each, everything in zip(reads, lengths, everyone, strict=True):
            parts = torch.split(everything[:-1], each)
            for (name, seeds), part in zip(read.items(), parts, strict=True):
                scores[name].update(part.view(-1, tasks[name].num_outputs), seeds)
    model.train(was_training)
    return {name: score.compute() for name, score in scores.items()}


def trivial(tasks: Mapping[str, BoundTask], split: str) -> dict[str, Scores]:
    """Return what predicting the training labels' statistics for everybody would reach."""
    results = {}
    for name, task in tasks.items():
        score, seeds = TaskScore(task), task.seeds(split)
        for start in range(0, len(seeds), ROWS):  # a wide task on many seeds would fill the memory
            part = seeds[start : start + ROWS]
            score.update(task.trivial(len(part)), part)
        results[name] = score.compute()
    return results


def mean_gain(results: Results, baseline: Results) -> float:
    """Return the mean over tasks of `1 - loss / trivial loss`: 0 is worthless, 1 perfect.

    Tasks without a loss there do not count; it is NaN where none has one.
    """
    known = [t for t in results if "loss" in results[t] and "loss" in baseline[t]]
    gains = [1 - results[t]["loss"] / max(baseline[t]["loss"], 1e-12) for t in known]
    return sum(gains) / len(gains) if gains else math.nan


class Evaluation:
    """The evaluations of one job: every split with the same chunks and draws each time.

    Args:
        config: of the job.
        store: the graph.
        tasks: by name.
        runtime: shares the chunks out.

    Raises:
        ConfigError: `evaluate.select` names no metric of its task.
    """

    def __init__(
        self,
        config: JobConfig,
        store: GraphStore,
        tasks: Mapping[str, BoundTask],
        runtime: Runtime,
    ) -> None:
        self._tasks, self._runtime, self._select = tasks, runtime, config.evaluate.select
        self._options, self._seed = config.evaluate, config.run.seed
        self._gates: dict[str, dict[str, float]] = {}
        size = config.evaluate.batch_size
        make = stream_maker(config, runtime, size, together=True)
        layers = stream_maker(config, runtime, size)  # whose chunks a process takes as they come
        self._layers = Layers(config, store, tasks, layers, runtime)
        self._stream = cache(partial(self._layers.seeds, partial(make, store, tasks)))
        passes = [frozenset(n for n, t in tasks.items() if t.masks == m) for m in (False, True)]
        self._passes = [names for names in passes if names]
        self.baseline = cache(partial(trivial, tasks))
        """What the trivial predictor reaches on a split."""
        for split in ("val", "test"):
            self._streams(split)  # what is wrong shows before the training, not after it
        self._check_select()

    @property
    def sign(self) -> int:
        """1 where a higher score is a better one, -1 where a lower one is."""
        return sign(self._select)

    def run(self, model: nn.Module, split: str) -> dict[str, Scores] | None:
        """Evaluate a model on a split; the same on every process.

        Nothing comes of it where the job is asked to stop meanwhile.
        """
        try:
            return self._run(model, (split,), NONE)[split]
        except StoppedError:
            return None

    def _run(
        self, model: nn.Module, splits: Sequence[str], watchers: Mapping[str, Watcher]
    ) -> dict[str, dict[str, Scores]]:
        """Evaluate on splits, of which the last is watched; they share what layers hand on."""
        runtime, results = self._runtime, {}
        inner, device, stops = runtime.unwrap(model), runtime.device, lambda: runtime.stop_requested
        with runtime.clock("evaluation"):
            reset_gates(inner)
            reader = self._layers.reader(
                inner, [s for split in splits for s in self._streams(split)]
            )
            for split in splits:
                watching = watchers if split == splits[-1] else NONE
                found: dict[str, Scores] = {}
                for stream in self._streams(split):
                    found |= evaluate(reader(stream), stream, runtime, device, watching, stops)
                self._gates[split] = gate_shares(inner, runtime)
                results[split] = {name: found[name] for name in self._tasks}
                reset_gates(inner)
        return results

    def score(self, results: Results) -> float:
        """Return what `evaluate.select` asks for, of results on the validation split.

        It is NaN, which is never the best, where that is undefined.
        """
        if self._select == "mean_gain":
            return mean_gain(results, self.baseline("val"))
        task, _, metric = self._select.partition("/")
        return results[task].get(metric, math.nan)

    def flat(self, split: str, results: Results) -> dict[str, float]:
        """Return results under the names of the tracker, with the mean gain of the split.

        Those of validation come with the weights of gates there, where the model has some.
        """
        gain = mean_gain(results, self.baseline(split))
        gates = self._gates[split] if split == "val" else {}
        gains = {f"{split}/mean_gain": gain} if math.isfinite(gain) else {}
        return {**flatten(split, results), **gains, **gates}

    def summary(
        self, model: nn.Module, splits: Sequence[str], watchers: Mapping[str, Watcher] = NONE
    ) -> dict[str, Any]:
        """Return what a model reaches on splits, the last of which is the one that counts.

        Beside it stand the trivial predictor's results there, and the best scores that the labels'
        noise allows where the graph knows them, why metrics are undefined, and the intervals that
        `evaluate.confidence` asks for. Watchers see the last split.
        """
        last, level = splits[-1], self._options.confidence
        trivial = self.baseline(last)
        metrics, undefined = flatten("trivial", trivial), _reasons("trivial", trivial)
        samples = {}
        if level is not None:
            samples = {n: Sample(task, watchers.get(n)) for n, task in self._tasks.items()}
        for split, results in self._run(model, splits, samples or watchers).items():
            metrics |= self.flat(split, results)
            undefined |= _reasons(split, results)
        best = {name: dict(task.best) for name, task in self._tasks.items()}
        summary = {"metrics": metrics, "undefined": undefined, "best_reachable": best}
        if level is not None:
            runtime, draws = self._runtime, (level, self._options.resamples, self._seed)
            places = runtime, runtime.device, runtime.beat
            summary["confidence"] = {
                f"{last}/{name}/{metric}": interval
                for name, sample in samples.items()
                for metric, interval in intervals(sample, *draws, *places).items()
            }
        return summary

    def _streams(self, split: str) -> list[Stream]:
        """Return the passes over a split: tasks that mask features have one of their own."""
        return [self._stream(split=split, only=names) for names in self._passes]

    def _check_select(self) -> None:
        task, _, metric = self._select.partition("/")
        found = self.baseline("val").get(task, Scores())
        if metric in found.undefined:
            raise ConfigError(
                f"evaluate.select: {self._select} is undefined in validation: "
                f"{found.undefined[metric]}"
            )
        metrics = list(found)
        if self._select != "mean_gain" and metric not in metrics:
            allowed = ", ".join(f"{task}/{name}" for name in metrics)
            raise ConfigError(
                f"evaluate.select: expected mean_gain or one of {allowed}, found {self._select!r}"
            )


def stream_maker(
    config: JobConfig, runtime: Runtime, batch_size: int, *, together: bool = False
) -> Callable[..., Stream]:
    """Return what makes the streams of evaluation: `build_stream`, of a graph and its tasks.

    Args:
        config: of the job.
        runtime: this process among all.
        batch_size: seeds of a batch.
        together: whether all processes take as many batches of these streams, so that they may
            share the edges out; else the host draws.
    """
    options, edges = config.evaluate, config.loader.edges
    loader = replace(
        config.loader,
        num_neighbors=neighbors_of(options.num_neighbors, config.loader.num_neighbors),
        batch_size=batch_size,
        global_batch_size=batch_size,  # the training split, too, each seed once
        rates={},
        edges="host" if edges == "sharded" and not together else edges,
        num_threads=runtime.threads.loader,
    )
    return partial(
        build_stream,
        loader,
        num_hops=config.model.encoder.num_hops,
        seed=config.run.seed,
        dtype=runtime.feature_dtype,
        edge_features=config.model.encoder.reads_edge_features,
        device=runtime.device,
        exchange=runtime.exchange if edges == "sharded" and together else None,
        section="evaluate" if options.num_neighbors not in (None, ALL) else "loader",
    )


def flatten(prefix: str, results: Results) -> dict[str, float]:
    """Return `{PREFIX/TASK/METRIC: value}`."""
    return {
        f"{prefix}/{task}/{metric}": value
        for task, metrics in results.items()
        for metric, value in metrics.items()
    }


def _reasons(prefix: str, results: Results) -> dict[str, str]:
    """Return `{PREFIX/TASK/METRIC: why it is undefined}`."""
    return {
        f"{prefix}/{task}/{metric}": why
        for task, scores in results.items()
        for metric, why in scores.undefined.items()
    }


def _rounds(stream: Stream, collective: Collective) -> Iterator[tuple[list[int | None], Data]]:
    """Yield, once a round, the chunk of each process and the batch of this one."""
    num_chunks, width = stream.order.steps_per_epoch, collective.world_size
    starts = range(0, num_chunks, width)
    rounds = [[c if c < num_chunks else None for c in range(s, s + width)] for s in starts]
    yield from zip(rounds, stream.microbatches(r[collective.rank] for r in rounds), strict=True)
