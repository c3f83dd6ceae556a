"""Score random predictions of every kind of task on several numbers of processes.

usage: python metrics_worker.py OUT_DIR NUM_CASES W ...   (writes OUT_DIR/W.RANK.json)
"""

import json
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchmetrics.classification
import torchmetrics.regression  # noqa: F401
from forked import run_forked

from job.evaluation import evaluate
from job.runtime import Runtime
from mtl.tasks import Statistics, Task
from mtl.tasks._links import BoundLinks
from mtl.tasks._masked import BoundMasked

KINDS = {
    "binary": {"type": "node_classification", "label": "y"},
    "classes": {"type": "node_classification", "label": "y"},
    "multilabel": {"type": "node_multilabel", "label": "y"},
    "regression": {"type": "node_regression", "label": "y"},
    "links": {"type": "link_prediction", "num_candidates": 5, "hits": [1, 3]},
    "features": {"type": "feature_reconstruction", "loss": "mse"},
}


def make(number: int) -> tuple[str, np.ndarray, np.ndarray, int]:
    """Return what a case is: its kind, outputs, targets, and seeds of a chunk."""
    rng = np.random.default_rng(number)
    kind = list(KINDS)[number % len(KINDS)]
    rows = int(rng.choice([0, 1, 2, 3, rng.integers(4, 40)]))
    width = {"binary": 2, "regression": 1, "links": 7}.get(kind, 4)
    outputs = rng.standard_normal((rows, width)) * rng.choice([1e-3, 1, 1e4])
    if rng.random() < 0.5:
        outputs = np.round(outputs / np.abs(outputs).max(initial=1e-9) * 2)  # ties
    offset, scale = rng.choice([0.0, 1e6]), rng.choice([1e-3, 1.0, 1e6])
    constant = rng.random() < 0.15
    size = (1 if constant else rows, width)
    numbers = np.broadcast_to(offset + scale * rng.standard_normal(size), (rows, width))
    highest = rng.choice([1, width])  # one class alone, or any
    target: np.ndarray = {
        "binary": rng.integers(highest, size=rows),
        "classes": rng.integers(highest, size=rows),
        "multilabel": rng.integers(-1, 2, (rows, width)) if highest > 1 else -np.ones((rows, 4)),
        "regression": numbers[:, 0],
        "links": np.tile([1, 0], (rows, 1)),
        "features": numbers,
    }[kind]
    if kind in ("regression", "features"):
        outputs = numbers + outputs[:, : numbers.shape[1]] * scale
    elif kind == "links":
        outputs[:, 2:][rng.random((rows, 5)) < 0.2] = -np.inf  # a candidate that is left out
    target = target if target.dtype.kind == "f" and kind != "multilabel" else target.astype(int)
    return kind, outputs, target, int(rng.integers(1, 8))


class Made:
    """A bound task whose labels are made up."""

    def __init__(self, kind: str, target: np.ndarray, width: int) -> None:
        self._target, self.num_outputs = torch.from_numpy(target.copy()), width
        self.task = Task.read(KINDS[kind])
        ones = torch.ones(width).double()
        self.statistics = Statistics(0 * ones, ones)
        self._bound = {"links": BoundLinks, "features": BoundMasked}.get(kind)

    def targets(self, seeds: np.ndarray) -> torch.Tensor:
        """Return those of some seeds."""
        return self._target[torch.from_numpy(seeds)]

    def statistics_as(self, like: torch.Tensor) -> Statistics:
        """Return them as they are: all is fp64, on the CPU."""
        return self.statistics

    def __getattr__(self, name: str) -> Any:
        """Return a method of the bound task, or of its options with what a bound label adds."""
        if self._bound is not None:
            return partial(getattr(self._bound, name), self)
        method = getattr(self.task, name)
        if name == "loss_sum":
            return lambda prediction, target: method(prediction, target, self.statistics)
        if name == "count":
            return lambda seeds: method(self.targets(seeds).numpy(), self.statistics)
        return partial(method, self.num_outputs) if name == "metrics" else method


class Split:
    """A stream over all seeds of one task; its batches are the outputs themselves."""

    def __init__(self, task: Made, outputs: np.ndarray, size: int) -> None:
        self._outputs, self._size, self._rows = torch.from_numpy(outputs.copy()), size, len(outputs)
        self.loader = SimpleNamespace(tasks={"it": task}, reads=self._reads)
        self.order = SimpleNamespace(steps_per_epoch=-(-self._rows // size))

    def _reads(self, chunk: int | None) -> dict[str, np.ndarray]:
        start = self._rows if chunk is None else chunk * self._size
        return {"it": np.arange(start, min(start + self._size, self._rows))}

    def microbatches(self, chunks: Iterable[int | None]) -> Iterator[torch.Tensor]:
        """Yield the outputs of chunks."""
        return (self._outputs[torch.from_numpy(self._reads(c)["it"])] for c in chunks)


class Given(torch.nn.Module):
    """A model that predicts its batch."""

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return it as the prediction of the task."""
        return {"it": batch}


def run_rank(num_cases: int, out: Path) -> None:
    """Score all cases as one of several processes."""
    with Runtime("fp64") as runtime:
        torch.set_num_threads(1)
        found = []
        for number in range(num_cases):
            kind, outputs, target, size = make(number)
            stream = Split(Made(kind, target, outputs.shape[1]), outputs, size)
            scores = evaluate(Given(), stream, runtime, runtime.device)["it"]
            case = {"kind": kind, "outputs": outputs.tolist(), "target": target.tolist()}
            found.append({**case, "defined": scores, "undefined": scores.undefined})
        path = out / f"{runtime.world_size}.{runtime.rank}.json"
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    for world_size in map(int, sys.argv[3:]):
        run_forked(world_size, partial(run_rank, int(sys.argv[2]), Path(sys.argv[1])))
