"""step: tells people of which data a broken step is, and how to see it again: nonfinite.json."""

import math
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from job.config import JobConfig
from job.meter import Meter
from job.nonfinite import BrokenStepError, Recent, Seen
from job.prediction_names import row_names
from job.record import write_json
from job.runtime import NonFiniteError, Runtime
from mtl.graphs.store import GraphStore
from mtl.loaders.seeds import Seeds
from mtl.loaders.stream import Stream
from mtl.tasks.bound import BoundTask

FILE = "nonfinite.json"
MAX_MICROBATCHES, MAX_SEEDS = 8, 1000
"""How many a record names, and of each group of seeds in a microbatch."""
ADVICE = (
    "Nothing was saved since. Lower optim.lr, set optim.clip_norm or train.precision=fp32, look at "
    "the labels, or go on without such steps or tasks: train.on_nonfinite"
)


@contextmanager
def blamed(
    config: JobConfig,
    store: GraphStore,
    stream: Stream,
    recent: Recent,
    meter: Meter,
    runtime: Runtime,
) -> Iterator[None]:
    """Say of which data a broken step is, in RUN_DIR/nonfinite.json and in the error.

    Raises:
        NonFiniteError: with all of it, where a step is broken.
    """
    path = config.run.dir / FILE
    runtime.on_main(lambda: path.unlink(missing_ok=True))
    try:
        yield
    except BrokenStepError as error:
        first = _first(error, meter)
        seen = recent.of(first.step - 1, runtime)
        record = _record(first, seen, config, store, stream, runtime)
        where = f"{path} names the seeds"
        if runtime.is_main:
            try:
                write_json(path, record)
            except OSError as failure:
                where = f"{path} could not be written ({failure})"
        raise NonFiniteError(
            f"step {first.step} (epoch {record['epoch']}): {first.fault}{_place(seen)}; {where}. "
            f"{ADVICE}. To see that step again: {record['replay']}"
        ) from error


def _first(error: BrokenStepError, meter: Meter) -> BrokenStepError:
    """Return the error of the step before, which the meter reads late, if that was broken, too."""
    try:
        meter.read()
    except BrokenStepError as earlier:
        return earlier
    return error


def _record(
    error: BrokenStepError,
    seen: list[Seen],
    config: JobConfig,
    store: GraphStore,
    stream: Stream,
    runtime: Runtime,
) -> dict[str, Any]:
    tasks, broken = stream.loader.tasks, _broken(seen)
    chosen = broken or sorted(seen, key=lambda row: -max(map(abs, row[2])))
    microbatches = [
        {
            "number": number,
            "process": rank,
            "losses": dict(zip(sorted(tasks), map(plain, losses), strict=True)),
            "seeds": seeds_of(store, tasks, stream.order.microbatch(number), MAX_SEEDS),
        }
        for number, rank, losses in chosen[:MAX_MICROBATCHES]
    ]
    return {
        "step": error.step,
        "epoch": (error.step - 1) // stream.order.steps_per_epoch + 1,
        "what": "loss" if broken else "gradient",
        "tasks": error.tasks,
        "num_microbatches": len(chosen),
        "microbatches": microbatches,
        "graph": store.fingerprint,
        "world_size": runtime.world_size,
        "replay": replay_command(config.run.dir, error.step, runtime.world_size),
    }


def seeds_of(
    store: GraphStore, tasks: Mapping[str, BoundTask], seeds: Seeds, limit: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return how many seeds there are of each group, and the user's own ids of the first ones."""
    owners = {task.group: task.owner for task in tasks.values()}
    found: dict[str, dict[str, Any]] = {}
    for group, rows in seeds.items():
        names = row_names(store, owners[group]).of(np.asarray(rows[:limit], np.int64))
        found[group] = {"count": len(rows)} | {n: ids.to_pylist() for n, ids in names.items()}
    return found


def replay_command(run_dir: Path, step: int, world_size: int) -> str:
    """Return the command that makes a step of a run again, on as many processes."""
    start = ["python"] if world_size == 1 else ["torchrun", f"--nproc_per_node={world_size}"]
    return shlex.join([*start, "job/train.py", str(run_dir / "config.yaml"), f"replay={step}"])


def plain(number: float) -> float | str:
    """Return a number that JSON has, or the word for it: inf, -inf, nan."""
    return number if math.isfinite(number) else str(number)


def _broken(seen: list[Seen]) -> list[Seen]:
    return [row for row in seen if not all(map(math.isfinite, row[2]))]


def _place(seen: list[Seen]) -> str:
    """Say which microbatches have a loss that is none; nothing where it is only the gradient."""
    broken = _broken(seen)
    if not broken:
        return ""
    number, rank, _ = broken[0]
    first = f"microbatch {number} of process {rank}"
    if len(broken) == 1:
        return f", in {first}"
    return f", in {len(broken)} of {len(seen)} microbatches, the first is {first}"
