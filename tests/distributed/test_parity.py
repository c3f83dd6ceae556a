"""N processes compute what one process computes over the same microbatches (fp64, dropout on)."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

Result = dict[str, np.ndarray]
Results = dict[tuple[str, int, int], Result]


def part(result: Result, prefix: str) -> np.ndarray:
    """Return all arrays of a prefix as one vector."""
    return np.concatenate(
        [value.ravel() for key, value in result.items() if key.startswith(prefix)]
    )


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the distance of two vectors, relative to the length of the second."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


PREFIXES = ["grad/", "train/", "weight/"]


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_case_equals_one_process(results: Results, world_size: int, prefix: str) -> None:
    assert_equal_one_process(results, world_size, prefix, at_least=15)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_weights_are_bit_identical_on_all_processes(results: Results, world_size: int) -> None:
    for (name, size, rank), result in results.items():
        if size == world_size:
            first = part(results[name, size, 0], "weight/")
            assert np.array_equal(part(result, "weight/"), first), (name, rank)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_metrics_are_equal_on_any_number_of_processes(results: Results, world_size: int) -> None:
    for (name, size, rank), result in results.items():
        if size == world_size:
            alone = part(results[name, 1, 0], "val/")
            np.testing.assert_allclose(part(result, "val/"), alone, rtol=1e-9, err_msg=name)
            mine, first = part(result, "val/"), part(results[name, size, 0], "val/")
            assert np.array_equal(mine, first), (name, rank)


@pytest.mark.soak
def test_every_case_equals_one_process_on_every_number(
    cases: Path, run_worker: Callable[..., Results], tmp_path: Path
) -> None:
    described = json.loads(cases.read_text())
    for case in described.values():
        del case["world_sizes"]
    (tmp_path / "cases.json").write_text(json.dumps(described))
    found = run_worker(tmp_path, timeout=3600)
    for world_size, prefix in product([2, 3, 4], PREFIXES):
        assert_equal_one_process(found, world_size, prefix, at_least=len(described))


def assert_equal_one_process(
    results: Results, world_size: int, prefix: str, *, at_least: int
) -> None:
    """Compare all cases that there are for this number of processes."""
    distances = {
        name: relative(part(result, prefix), part(results[name, 1, 0], prefix))
        for (name, size, rank), result in results.items()
        if size == world_size and rank == 0
    }
    assert len(distances) >= at_least
    assert {name: d for name, d in distances.items() if not d < 1e-10} == {}


def test_every_task_has_a_case_with_every_sharing_and_every_encoder(cases: Path) -> None:
    from mtl.models.encoders import Encoder
    from mtl.models.sharing import Sharing
    from mtl.tasks import Task

    kinds = Task.types()
    for section, names in (("sharing", Sharing.types()), ("encoder", Encoder.types())):
        found = {
            (case["config"]["model"][section]["type"], task["type"])
            for case in json.loads(cases.read_text()).values()
            for task in case["config"]["tasks"].values()
        }
        assert set(product(names, kinds)) - found == set()


def test_some_microbatches_hold_no_label_of_a_task(cases: Path) -> None:
    from job.config import read
    from mtl.graphs.cache import open_graph
    from mtl.loaders.stream import build_stream

    config = read(json.loads(cases.read_text())["sage-hard"]["config"], [])
    store = open_graph(config.graph)
    tasks = {name: task.bind(name, store) for name, task in config.tasks.items()}
    order = build_stream(config.loader, store, tasks).order
    batches = [b["node"] for step in range(order.steps_per_epoch) for b in order.step(step)]
    for name in ("churn", "interests"):
        rows = [len(tasks[name].rows(seeds, "train")) for seeds in batches]
        assert min(rows) == 0
        assert max(rows) > 0
