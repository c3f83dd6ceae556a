"""replay: all that was seen of a step but its tensors, in plain JSON."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import HeteroData

from job.blame import plain, seeds_of
from job.meter import GRAD_NORM
from job.record import parse
from job.replay_look import Look, Microbatch, gramian
from job.replay_run import Again, Made
from mtl.graphs.schema import text
from mtl.loaders.stream import Batch
from mtl.models.multitask import MultiTaskModel

Card = dict[str, Any]


def describe(again: Again, made: Made, seen: Look, step: int, checkpoint: int | None) -> Card:
    """Return all that is known of a step but its tensors."""
    recorded, names = recorded_of(again.config.run.dir, step), list(again.tasks)
    shared = gramian(seen.gradients, bottom_of(again.module))
    places = {"representation": seen.at_representation, "shared_weights": shared}
    tasks = {}
    for i, name in enumerate(names):
        key, parts = f"train/{name}/loss", [float(m.losses[name]) for m in seen.microbatches]
        tasks[name] = {
            "labels": seen.microbatches[0].batch.num_targets[name],
            "loss": plain(made.metrics.get(key, sum(parts))),
            "recorded": recorded.get(key),
            "weight": made.metrics.get(f"balance/weight/{name}"),
            "gradient_norm": {at: plain(norm(x, i)) for at, x in places.items() if x is not None},
            "broken_gradients": broken(seen.gradients[name]),
        }
    return {
        "step": step,
        "epoch": (step - 1) // again.stream.order.steps_per_epoch + 1,
        "run_dir": str(again.config.run.dir),
        "graph": again.store.fingerprint,
        "checkpoint": checkpoint,
        "processes": again.runtime.world_size,
        "precision": again.runtime.precision,
        "fault": made.fault,
        "gradient_norm": plain(made.metrics.get(GRAD_NORM, math.nan)),
        "gradient_norm_recorded": recorded.get(GRAD_NORM),
        "tasks": tasks,
        "cosines": {f"{names[i]}/{names[j]}": c for i, j, c in cosines(shared)},
        "broken_weights": seen.broken_weights,
        "microbatches": [of_microbatch(again, one) for one in seen.microbatches],
    }


def of_microbatch(again: Again, one: Microbatch) -> Card:
    """Return what is known of a microbatch."""
    seeds = again.stream.order.microbatch(one.number)
    nodes, edges = sizes(one.batch)
    groups = {name: task.group for name, task in again.tasks.items()}
    bad = {
        name: seeds_of(again.store, again.tasks, {groups[name]: rows})[groups[name]]
        for name, rows in one.broken_seeds.items()
    }
    return {
        "number": one.number,
        "seeds": seeds_of(again.store, again.tasks, seeds),
        "nodes": nodes,
        "edges": edges,
        "losses": {name: plain(float(loss)) for name, loss in one.losses.items()},
        "broken_module": one.broken_module,
        "broken_seeds": bad,
    }


def sizes(batch: Batch) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many nodes and edges of each type were sampled."""
    if not isinstance(batch, HeteroData):
        return {batch.node_type: batch.num_nodes}, {text(batch.edge_type): batch.num_edges}
    nodes = {kind: batch[kind].num_nodes for kind in batch.node_types}
    return nodes, {text(kind): batch[kind].num_edges for kind in batch.edge_types}


def recorded_of(run_dir: Path, step: int) -> dict[str, float]:
    """Return what metrics.jsonl says of the training at a step; nothing where that was not due."""
    path, found = run_dir / "metrics.jsonl", dict[str, float]()
    if path.exists():
        with path.open("rb") as file:
            for record in filter(None, map(parse, file)):
                if record["step"] == step:
                    found |= {k: v for k, v in record.items() if k.startswith("train/")}
    return found


def bottom_of(module: MultiTaskModel) -> list[str]:
    """Return the names of the weights that the tasks share."""
    return [name for name, _ in module.named_parameters() if name.startswith("bottom.")]


def broken(gradients: Mapping[str, Tensor]) -> list[str]:
    """Return the weights at which a gradient is not finite."""
    return [name for name, gradient in gradients.items() if not gradient.isfinite().all()]


def norm(matrix: Float[Tensor, "tasks tasks"], task: int) -> float:
    """Return the length of a task's gradient."""
    return float(matrix[task, task].sqrt())


def cosines(matrix: Float[Tensor, "tasks tasks"]) -> Iterator[tuple[int, int, float]]:
    """Yield each pair of tasks that both have a finite gradient, and its cosine."""
    for i, j in combinations(range(len(matrix)), 2):
        cosine = float(matrix[i, j] / (norm(matrix, i) * norm(matrix, j) or math.nan))
        if math.isfinite(cosine):
            yield i, j, cosine
