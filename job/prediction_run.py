"""predict: graph and model of a run, then every part that is not there yet, over all processes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from job.checkpoint import Checkpoints
from job.checkpoint_files import MANIFEST as CHECKPOINT
from job.conversion import ConversionProgress
from job.evaluate import step_of
from job.mirror import mirror
from job.placement import placed
from job.prediction import Pass
from job.prediction_files import claim, num_rows
from job.prediction_inputs import check_alike, check_features, digest
from job.prediction_parts import Parts
from job.prediction_passes import build_passes
from job.runtime import Runtime
from job.state import MODEL, read_weights
from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.graphs.folder import Folder
from mtl.graphs.schema import MANIFEST as SCHEMA
from mtl.graphs.schema import GraphInfo, read_schema
from mtl.graphs.store import GraphStore
from mtl.loaders import message_types
from mtl.models.multitask import build_model
from mtl.models.trunk import layer_types
from mtl.plugin import dump
from mtl.tasks._elsewhere import bind_elsewhere
from mtl.tasks.bound import BoundTask, bind_tasks

if TYPE_CHECKING:
    from job.predict import Wish


class Opened(NamedTuple):
    """What predictions are made with.

    Attributes:
        store: the graph to predict on.
        tasks: all of the run, by name, on that graph.
        model: in evaluation mode, on its device.
        checkpoint: folder of its weights.
    """

    store: GraphStore
    tasks: dict[str, BoundTask]
    model: nn.Module
    checkpoint: Path


def predict(wish: "Wish", runtime: Runtime) -> None:
    """Write the predictions of a run, all parts that are not there yet.

    Raises:
        StoppedError: a process was asked to stop; the same command goes on.
    """
    store, tasks, model, folder = open_run(wish, runtime)
    options = _options(wish, runtime, folder, store)
    about = {"run": str(wish.run_dir), "checkpoint": folder.name, "graph": store.fingerprint}
    passes = build_passes(wish, store, tasks, about)
    runtime.on_main(lambda: claim(wish.out_dir, options))
    config = placed(wish.config, store, runtime)
    Parts(config, wish.out_dir, store, tasks, model, runtime).compute(passes)
    runtime.on_main(lambda: _say(wish.out_dir, passes))


def open_run(wish: "Wish", runtime: Runtime) -> Opened:
    """Open the graph to predict on, and the model of the run for it."""
    config = wish.config
    mirror(config.run.dir, runtime)
    store, trained = _graph(wish)
    tasks = _tasks(wish, store, trained)
    edge_types = message_types(config.loader.num_neighbors, store.edge_types)
    model = build_model(config.model, store, tasks, edge_types).to(runtime.dtype)
    checkpoints = Checkpoints(config.run.dir, config.checkpoint, trained.fingerprint)
    folder = checkpoints.whole(step_of(wish.checkpoint, checkpoints))
    read_weights(model, folder)
    inner = runtime.unwrap(runtime.prepare_evaluation(model)).eval()
    return Opened(store, tasks, inner, folder)


def _graph(wish: "Wish") -> tuple[GraphStore, GraphInfo]:
    """Open the graph to predict on; return it and what the graph of the run was like."""
    known = wish.run_dir / SCHEMA
    if wish.graph is not None and not known.is_file():
        raise ConfigError(
            f"graph.path: {wish.run_dir} does not say what graph it was trained on ({SCHEMA} is "
            "missing: an older version made it); start job/train.py on it once more"
        )
    source = wish.config.graph if wish.graph is None else Folder(path=wish.graph)
    with ConversionProgress() as report:
        store = open_graph(source, report)
    if wish.graph is None:
        return store, store.info
    trained = read_schema(wish.run_dir)
    check_alike(trained, store)
    return store, trained


def _tasks(wish: "Wish", store: GraphStore, trained: GraphInfo) -> dict[str, BoundTask]:
    """Look the tasks of the run up in the graph."""
    config = wish.config
    if store.fingerprint == trained.fingerprint:
        return bind_tasks(config.tasks, store)
    tasks = {n: bind_elsewhere(task, n, store, trained) for n, task in config.tasks.items()}
    seeds = {kind for task in tasks.values() for kind in task.node_types}
    edges = message_types(config.loader.num_neighbors, store.edge_types)
    check_features(layer_types(config.model.encoder, seeds, edges)[0], store)
    return tasks


def _options(
    wish: "Wish", runtime: Runtime, checkpoint: Path, store: GraphStore
) -> dict[str, object]:
    """Return all that the predictions depend on."""
    config = wish.config
    files = json.loads((checkpoint / CHECKPOINT).read_text())["files"]
    draws = ("num_neighbors", "replace", "weighted", "temporal", "seed_time", "backend")
    return {
        "checkpoint": {"step": checkpoint.name, "weights": files[MODEL]["sha256"]},
        "graph": store.fingerprint,
        "tasks": list(wish.tasks),
        "split": wish.split,
        "embeddings": wish.embeddings,
        "pairs": None if wish.pairs is None else digest(wish.pairs),
        "precision": runtime.precision,
        "run": {"seed": config.run.seed},
        "evaluate": {key: dump(config.evaluate)[key] for key in ("batch_size", "num_neighbors")},
        "loader": {key: dump(config.loader)[key] for key in draws},
    }


def _say(out_dir: Path, passes: Sequence[Pass]) -> None:
    """Print what is there now."""
    for name in sorted(name for job in passes for name in job.columns):
        print(f"{out_dir / name}: {num_rows(out_dir / name):,} rows")
