"""Results of every case on every number of processes, computed once a session."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl.graphs.writer import GraphWriter
from mtl.models.encoders import Encoder
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks._labelled import LabelTask

WORKER = Path(__file__).with_name("worker.py")
TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "churn": {"type": "node_classification", "label": "churn", "split": "few", "weight": 2.0},
    "value": {"type": "node_regression", "label": "value", "loss": "huber"},
    "interests": {"type": "node_multilabel", "label": "interests", "split": "few"},
}
MIXES = [mix for size in range(1, len(TASKS) + 1) for mix in itertools.combinations(TASKS, size)]
BATCHES = [(8, 24), (6, 20), (12, 12), (4, 26), (9, 25)]
ARCHITECTURES = [
    (encoder, sharing) for encoder in ("sage", "gcn", "gat", "mlp") for sharing in ("hard", "mimo")
]

MARKET_TASKS = {
    "churn": {"type": "node_classification", "node_type": "user", "label": "churn"},
    "value": {"type": "node_regression", "node_type": "user", "label": "value", "weight": 2.0},
    "category": {"type": "node_classification", "node_type": "item", "label": "category"},
}
MIXED_TASKS = {
    **MARKET_TASKS,
    "returned": {
        "type": "edge_classification",
        "edge_type": "user__buys__item",
        "label": "returned",
        "class_weights": "balanced",
        "label_smoothing": 0.1,
    },
    "buys": {
        "type": "link_prediction",
        "edge_type": "user__buys__item",
        "num_negatives": 2,
        "num_candidates": 5,
        "hits": [1],
    },
    "follows": {
        "type": "link_prediction",
        "edge_type": "user__follows__user",
        "loss": "ranking",
        "num_candidates": 7,
        "hits": [1, 3],
    },
}
EDGE_MIXES = [
    ("returned",),
    ("buys", "churn"),
    ("follows", "category", "value"),
    ("returned", "buys"),
    tuple(MIXED_TASKS),
]
GRAPH_TASKS = {
    "toxic": {"type": "graph_multilabel", "label": "y"},
    "other": {"type": "graph_multilabel", "label": "y", "split": "other", "pool": "sum"},
    "bonds": {"type": "link_prediction", "num_candidates": 5, "hits": [1]},
}
UNLABELLED: dict[str, dict[str, Any]] = {
    "feature_reconstruction": {},
    "link_prediction": {"num_candidates": 5, "hits": [1]},
}
"""Options of the tasks that read no label: a new one has to be named here."""
SPARSE = {"missing": 0.6, "num_features": 8}
CUSTOMERS = {"type": "synthetic", "num_nodes": 120, **SPARSE}
MARKET = {
    "type": "marketplace",
    "num_users": 120,
    "num_items": 60,
    "num_shops": 8,
    **SPARSE,
}
SPARSE_MARKET = {**MARKET, "avg_purchases": 2.0, "avg_follows": 1.5}

Result = dict[str, np.ndarray]


def case(
    tasks: dict[str, dict[str, Any]],
    graph: dict[str, Any],
    encoder: str,
    sharing: str,
    batches: tuple[int, int],
) -> dict[str, Any]:
    """Describe a short training; 60 % of the labels are missing, so many microbatches lack some."""
    config = {
        "run": {"name": "case", "seed": 3},
        "graph": graph,
        "tasks": tasks,
        "loader": {
            "num_neighbors": [3, 2],
            "batch_size": batches[0],
            "global_batch_size": batches[1],
        },
        "model": {
            "dim": 8,
            "input_dropout": 0.2,
            "encoder": {"type": encoder, "num_layers": 2, "dropout": 0.3},
            "sharing": {"type": sharing},
        },
        "optim": {"lr": 1e-2, "clip_norm": 0.1},
        "train": {"epochs": 3, "precision": "fp64"},
        "evaluate": {"batch_size": 8},
        "track": {"mlflow": None},
    }
    return {"config": config, "num_steps": 3}


def timed(described: dict[str, Any]) -> dict[str, Any]:
    """Let seeds see the past alone."""
    described["config"]["loader"]["temporal"] = "uniform"
    return described


def drawn(backend: str, described: dict[str, Any]) -> dict[str, Any]:
    """Have a sampler draw the neighbours."""
    described["config"]["loader"]["backend"] = backend
    return described


def whole(described: dict[str, Any]) -> dict[str, Any]:
    """Evaluate with all neighbours, layer by layer."""
    described["config"]["evaluate"]["num_neighbors"] = "all"
    return described


CASES = {
    **{
        "-".join(mix): case(
            {name: TASKS[name] for name in mix},
            CUSTOMERS,
            "sage",
            "hard",
            BATCHES[i % len(BATCHES)],
        )
        for i, mix in enumerate(MIXES)
    },
    **{
        f"{encoder}-{sharing}": case(TASKS, CUSTOMERS, encoder, sharing, BATCHES[i % len(BATCHES)])
        for i, (encoder, sharing) in enumerate(ARCHITECTURES)
    },
    **{
        f"market-{encoder}-{sharing}": whole(
            case(MARKET_TASKS, MARKET, encoder, sharing, BATCHES[i % len(BATCHES)])
        )
        for i, (encoder, sharing) in enumerate(
            [
                *(("sage", sharing) for sharing in Sharing.types()),
                *((encoder, "hard") for encoder in ("mlp", "gat", "gin", "pna", "rgcn", "hgt")),
            ]
        )
    },
    **{
        f"edges-{i}": case(
            {name: MIXED_TASKS[name] for name in mix},
            SPARSE_MARKET,
            "sage",
            ("hard", "mimo")[i % 2],
            BATCHES[i],
        )
        for i, mix in enumerate(EDGE_MIXES)
    },
    "edges-as-of-their-time": timed(
        case(
            {name: MIXED_TASKS[name] for name in ("returned", "buys")},
            SPARSE_MARKET,
            "sage",
            "hard",
            BATCHES[0],
        )
    ),
}


def all_kinds() -> dict[str, dict[str, Any]]:
    """Return a task of every kind on the graph of `write_all_kinds`."""
    found = {}
    for kind in Task.types():
        task = Task.named(kind)
        more = {"label": task.kind} if issubclass(task, LabelTask) else UNLABELLED[kind]
        found[f"a_{kind}"] = {"type": kind, **more}
    return found


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that describes all cases, each of them for one process and for several."""
    path = tmp_path_factory.mktemp("parity") / "cases.json"
    file = write_molecules(tmp_path_factory.mktemp("molecules") / "molecules.npz")
    molecules = {
        f"molecules-{encoder}": case(
            GRAPH_TASKS, {"type": "npz", "file": str(file)}, encoder, sharing, batches
        )
        for encoder, sharing, batches in (("gin", "hard", (8, 24)), ("gat", "mmoe", (6, 20)))
    }
    folder = write_all_kinds(tmp_path_factory.mktemp("all_kinds") / "graph")
    sharings, encoders = Sharing.types(), Encoder.types()
    every = {
        f"all-kinds-{i}": drawn(
            ("numba", "cuda")[i % 2],
            case(
                all_kinds(),
                {"type": "folder", "path": str(folder)},
                encoders[i % len(encoders)],
                sharings[i % len(sharings)],
                BATCHES[i % len(BATCHES)],
            ),
        )
        for i in range(max(len(sharings), len(encoders)))
    }
    found = CASES | molecules | every
    for described, others in zip(found.values(), itertools.cycle([[2], [3], [4]])):
        described["world_sizes"] = [1, *others]
    path.write_text(json.dumps(found))
    return path


def write_all_kinds(folder: Path) -> Path:
    """Write twenty rings; atoms, bonds and molecules have labels, each called as its kind."""
    rng, bond = np.random.default_rng(0), ("atom", "bond", "atom")
    sizes = rng.integers(3, 6, 20)
    first, atoms = np.append(0, np.cumsum(sizes)), np.arange(sizes.sum())
    start = np.repeat(first[:-1], sizes)
    following = start + (atoms - start + 1) % np.repeat(sizes, sizes)
    writer = GraphWriter(folder, name="all")
    writer.add_nodes("atom", len(atoms), rng.random((len(atoms), 5), np.float32))
    ends = np.append(atoms, following), np.append(following, atoms)
    features = rng.random((len(ends[0]), 3), np.float32)
    writer.add_edges(bond, *ends, features=features, reverse=bond)
    writer.add_collection("molecule", "atom", first)
    for owner, rows in (("atom", len(atoms)), (bond, len(features)), ("molecule", 20)):
        classes, values = rng.integers(2, size=rows), rng.random(rows)
        known = rng.random(rows) < 0.5
        writer.add_label(owner, "class", "class", np.where(known, classes, -1), num_classes=2)
        writer.add_label(owner, "regression", "regression", np.where(known, values, np.nan))
        several = rng.choice([0, 1, -1], (rows, 2), p=[0.3, 0.2, 0.5])
        writer.add_label(owner, "multilabel", "multilabel", several, num_classes=2)
        writer.add_split(owner, "split", rng.choice([1, 2, 3], rows, p=[0.6, 0.2, 0.2]))
    writer.finish()
    return folder


def write_molecules(path: Path) -> Path:
    """Write forty rings of one to six atoms, half of whose assays are missing."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 40)
    ring = [np.stack([np.arange(n), (np.arange(n) + 1) % n]) for n in sizes]
    pairs = [np.hstack([edges, edges[::-1]]) for edges in ring]
    np.savez(
        path,
        num_nodes=sizes,
        num_edges=2 * sizes,
        x=rng.integers(4, size=(sizes.sum(), 2)),
        edge_index=np.hstack(pairs),
        edge_attr=rng.integers(3, size=(2 * sizes.sum(), 1)),
        y=rng.choice([0, 1, np.nan], (40, 3), p=[0.3, 0.2, 0.5]),
        scaffold_split=rng.permutation(np.repeat([0, 1, 2], [24, 8, 8])),
        other_split=rng.permutation(np.repeat([0, 1, 2], [12, 14, 14])),
    )
    return path


@pytest.fixture(scope="session")
def run_worker() -> Callable[..., dict[tuple[str, int, int], Result]]:
    """Run the cases of a folder; return `{(case, world size, rank): arrays}`."""

    def run(out: Path, *world_sizes: int, timeout: int = 500) -> dict[tuple[str, int, int], Result]:
        command = [sys.executable, str(WORKER), str(out), *map(str, world_sizes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr
        found = {}
        for path in out.glob("*.npz"):
            name, world_size, rank = path.name.removesuffix(".npz").rsplit(".", 2)
            with np.load(path) as arrays:
                found[name, int(world_size), int(rank)] = dict(arrays)
        return found

    return run


@pytest.fixture(scope="session")
def results(cases: Path, run_worker: Callable) -> dict[tuple[str, int, int], Result]:
    """Return `{(case, world size, rank): arrays}`."""
    return run_worker(cases.parent)
