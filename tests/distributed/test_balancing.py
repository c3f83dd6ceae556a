"""Every balancing method: W processes make the same 20 steps as one, to the last digits (fp64)."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.balancing import Balancing, TwoPhase
from mtl.models.sharing import Sharing

TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "churn": {"type": "node_classification", "label": "churn", "split": "few", "weight": 2.0},
    "value": {"type": "node_regression", "label": "value", "loss": "huber"},
    "interests": {"type": "node_multilabel", "label": "interests", "split": "few"},
}
GRAPH = {"type": "synthetic", "num_nodes": 120, "missing": 0.6, "num_features": 8}
STEPS = 20
MICROBATCHES = {1: 24, 2: 12, 3: 8, 6: 4}
"""Microbatches of a step, and the seeds of each: up to three, or six, on a process."""
TOLERANCE = {"nash_mtl": 1e-3}
OPTIONS: dict[str, dict[str, Any]] = {
    "static": {"weights": dict.fromkeys(TASKS, 0.3)},
    "pcd": {"primary": "value"},
}
WITH = [kind for kind in Sharing.types() if Sharing.named(kind).no_representation is None]
Result = dict[str, np.ndarray]


def config(method: str, at: str, accumulate: str, sharing: str, microbatches: int) -> dict:
    kind, options = Balancing.named(method), OPTIONS.get(method, {})
    if issubclass(kind, TwoPhase):
        options = {**options, "accumulate": accumulate}
    if kind.needs == "gramian":
        options["at"] = at
    return {
        "run": {"name": "case", "seed": 3},
        "graph": GRAPH,
        "tasks": TASKS,
        "loader": {
            "num_neighbors": [3, 2],
            "batch_size": MICROBATCHES[microbatches],
            "global_batch_size": 24,
        },
        "model": {
            "dim": 8,
            "input_dropout": 0.2,
            "encoder": {"type": "sage", "num_layers": 2, "dropout": 0.3},
            "sharing": {"type": sharing},
        },
        "balancing": {"type": method, "conflicts_every": 3, **options},
        "optim": {"lr": 1e-2, "clip_norm": 0.1},
        "train": {"epochs": 30, "precision": "fp64"},
        "track": {"mlflow": None},
    }


def pairwise() -> dict[str, dict[str, Any]]:
    """Each method with both ways of taking gradients, on 2 and on 4 processes, and the other
    choices in turn.
    """
    found = {}
    places = itertools.cycle([(m, how) for m in (2, 6, 3, 1) for how in ("keep", "recompute")])
    sharings = {"representation": itertools.cycle(WITH), "parameters": itertools.cycle(WITH)}
    others = itertools.cycle(sorted(set(Sharing.types()) - set(WITH)))
    sizes = itertools.cycle([2, 4, 4, 2])
    for method in Balancing.types():
        gramian = Balancing.named(method).needs == "gramian"
        for at in ("representation", "parameters") if gramian else ("representation",):
            number, how = next(places)
            sharing = next(sharings[at]) if at == "representation" else next(others)
            found[f"{method}-{at}-{sharing}-{number}-{how}"] = {
                "config": config(method, at, how, sharing, number),
                "num_steps": STEPS,
                "world_sizes": [1, next(sizes)] if gramian else [1, 2, 4],
            }
    return found


def full() -> dict[str, dict[str, Any]]:
    """All that there is."""
    found = {}
    for method, at, sharing, number, how in itertools.product(
        Balancing.types(),
        ("representation", "parameters"),
        Sharing.types(),
        MICROBATCHES,
        ("keep", "recompute"),
    ):
        needs = Balancing.named(method).needs
        if (at == "representation" and needs == "gramian" and sharing not in WITH) or (
            at == "parameters" and needs != "gramian"
        ):
            continue
        if how == "recompute" and (needs == "nothing" or number == 1):
            continue
        found[f"{method}-{at}-{sharing}-{number}-{how}"] = {
            "config": config(method, at, how, sharing, number),
            "num_steps": STEPS,
            "world_sizes": [1, 2, 4],
        }
    return found


def written(cases: dict[str, dict], folder: Path) -> Path:
    (folder / "cases.json").write_text(json.dumps(cases))
    return folder


def weights_of(result: Result) -> np.ndarray:
    return np.concatenate([v.ravel() for k, v in result.items() if k.startswith("weight/")])


def check(results: dict[tuple[str, int, int], Result], cases: dict[str, dict[str, Any]]) -> None:
    wrong = {}
    for name, case in cases.items():
        alone = weights_of(results[name, 1, 0])
        for world_size in case["world_sizes"][1:]:
            first = weights_of(results[name, world_size, 0])
            distance = np.linalg.norm(first - alone) / np.linalg.norm(alone)
            if not distance < TOLERANCE.get(name.split("-")[0], 1e-8):
                wrong[name, world_size] = distance
            for rank in range(1, world_size):
                other = weights_of(results[name, world_size, rank])
                if not np.array_equal(other, first):
                    wrong[name, world_size] = f"rank {rank} is another model"
    assert wrong == {}


@pytest.fixture(scope="module")
def results(tmp_path_factory, run_worker) -> dict[tuple[str, int, int], Result]:
    return run_worker(written(pairwise(), tmp_path_factory.mktemp("balancing")), 1, 2, 4)


def test_every_method_makes_the_steps_of_one_process(results) -> None:
    cases = pairwise()
    tried = {
        (name.split("-")[0], size) for name, case in cases.items() for size in case["world_sizes"]
    }
    assert tried == set(itertools.product(Balancing.types(), (1, 2, 4)))
    check(results, cases)


def test_methods_differ(results) -> None:
    """Weights are not those of equal weighting by mistake."""
    hard = [name for name in pairwise() if "-hard-" in name]
    assert len(hard) > 3
    found = [weights_of(results[name, 1, 0]) for name in hard]
    assert all(not np.allclose(a, b) for a, b in itertools.combinations(found, 2))


def failing() -> dict[str, dict]:
    """A task a million times as loud as the others; a NaN in the loss of one, on one process."""
    found = {}
    for method in Balancing.types():
        tree = config(method, "representation", "keep", "hard", 3)
        loud = {**TASKS, "value": {**TASKS["value"], "weight": 1e6}}
        found[f"{method}-loud"] = {"config": {**tree, "tasks": loud}, "num_steps": 4}
    for policy, method in itertools.product(
        ("skip_step", "skip_task"), ("equal", "upgrad", "famo")
    ):
        tree = config(method, "representation", "keep", "hard", 3)
        tree["train"] = {**tree["train"], "on_nonfinite": policy}
        poison = {"task": "segment", "at": 2}
        found[f"{method}-{policy}"] = {"config": tree, "num_steps": 6, "poison": poison}
    return found


def test_a_task_that_explodes_or_fails_on_one_process_leaves_all_with_the_same_numbers(
    tmp_path, run_worker
) -> None:
    found = run_worker(written(failing(), tmp_path), 2)
    for name in failing():
        first, other = (weights_of(found[name, 2, rank]) for rank in (0, 1))
        assert np.array_equal(first, other), name
        assert np.isfinite(first).all(), name
    skipped = {n: r for (n, _, rank), r in found.items() if rank == 0 and "skip" in n}
    for name, result in skipped.items():
        lost = [k for k in result if k.startswith("train/segment/loss/")]
        assert len(lost) == 5, name  # one of six is no number
    tasks, steps = (weights_of(skipped[f"equal-skip_{what}"]) for what in ("task", "step"))
    assert not np.array_equal(tasks, steps)


@pytest.mark.soak
@pytest.mark.parametrize("method", Balancing.types())
def test_the_whole_grid_makes_the_steps_of_one_process(method, tmp_path, run_worker) -> None:
    cases = {name: case for name, case in full().items() if name.split("-")[0] == method}
    check(run_worker(written(cases, tmp_path), 1, 2, 4, timeout=3600), cases)
