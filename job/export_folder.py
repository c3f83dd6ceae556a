"""export: a run as a model of MLflow: weights, configuration, our code, signature, requirements."""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from job.checkpoint import Checkpoints
from job.checkpoint_files import read_manifest, step_of, write_folder
from job.config import JobConfig, load, tree_of
from job.evaluate import step_of as chosen_step
from job.export_rows import RUN
from job.export_signature import describe
from job.mlflow_models import REGISTER, STEP
from job.mlflow_store import quiet
from job.rundir import CHECKOUT, CONFIG
from job.state import MODEL
from job.yaml12 import render
from mtl.errors import ConfigError
from mtl.graphs.cache import cache_home
from mtl.graphs.folder import Folder
from mtl.graphs.schema import MANIFEST as SCHEMA
from mtl.graphs.schema import GraphInfo, read_schema
from mtl.graphs.store import GraphStore
from mtl.plugin import dump

NEEDED = (
    *("mlflow", "torch", "torch_geometric", "accelerate", "torchmetrics", "numba", "numpy"),
    *("jaxtyping", "pandas", "pyarrow", "pydantic", "pyyaml", "rich", "safetensors"),
)
"""What a prediction imports."""
SCRIPT = "mlflow_model.py"


def write_model(
    run_dir: Path,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    checkpoint: str = "best",
    graph: Path | None = None,
    register: str | None = None,
) -> None:
    """Write a checkpoint of a run as a model of MLflow, aside; a model that is there is replaced.

    Args:
        run_dir: of the run.
        out: folder of the model.
        overrides: of the run's configuration, `key.path=value`.
        checkpoint: best, last or a step.
        graph: where the graph of the run is; default: where the run had it.
        register: name in the model registry that it is to be a version of once it is sent.

    Raises:
        ConfigError: the run has no such checkpoint, or its graph is not here.
    """
    quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of MLflow about its own types
        from mlflow.pyfunc import save_model

    config = load([str(run_dir / CONFIG), *overrides])
    trained, store = _graph(run_dir, config, graph)
    checkpoints = Checkpoints(run_dir, config.checkpoint, trained.fingerprint)
    weights = checkpoints.whole(chosen_step(checkpoint, checkpoints))
    signature, example = describe(config.tasks, store, trained)
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        shipped = ship(config, trained, store.folder, weights, Path(temporary))
        save_model(
            aside,
            python_model=str(CHECKOUT / "job" / SCRIPT),
            artifacts={RUN: str(shipped)},
            code_paths=[str(CHECKOUT / "job"), str(CHECKOUT / "mtl")],
            signature=signature,
            input_example=example if example[1] else example[0],
            pip_requirements=requirements(),
            metadata={"run": config.run.name, STEP: step_of(weights), REGISTER: register},
        )
    _forget_places(aside)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)


def ship(config: JobConfig, trained: GraphInfo, graph: Path, weights: Path, place: Path) -> Path:
    """Write a run directory that predicts and says nothing of stores, sources and clusters.

    Args:
        config: of the run.
        trained: what its graph is like.
        graph: its folder, for who predicts on the same machine.
        weights: folder of the checkpoint.
        place: that gets it.
    """
    folder = place / RUN
    folder.mkdir()
    tree = tree_of(config)
    tree["graph"] = dump(Folder(path=graph.absolute()))
    tree["model"]["init_from"] = None
    for section in ("track", "cluster"):
        del tree[section]
    del tree["run"]["dir"]
    (folder / CONFIG).write_text(render(tree), encoding="utf-8")
    (folder / SCHEMA).write_text(replace(trained, source={}).to_json(), encoding="utf-8")
    old = read_manifest(weights)
    its = old["progress"] | dict.fromkeys(("step", "best_step"), step_of(weights))

    def fill(checkpoint: Path) -> None:
        shutil.copyfile(weights / MODEL, checkpoint / MODEL)

    manifest = {"graph": old["graph"], "progress": its}
    write_folder(folder / "checkpoints" / weights.name, fill, manifest)
    return folder


def requirements() -> list[str]:
    """Return what a prediction needs, at the versions that are installed."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


def _forget_places(folder: Path) -> None:
    """Take the folders of this machine out of MLflow's description: only their last parts count."""
    from mlflow.models import Model

    model = Model.load(folder)
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = SCRIPT
    flavor["artifacts"][RUN]["uri"] = flavor["artifacts"][RUN]["path"]
    model.save(str(folder / "MLmodel"))


def _graph(run_dir: Path, config: JobConfig, graph: Path | None) -> tuple[GraphInfo, GraphStore]:
    """Return what the graph of a run is like, and the graph; nothing is converted.

    Raises:
        ConfigError: it is not there, or another one is.
    """
    if not (run_dir / SCHEMA).is_file():
        raise ConfigError(
            f"{run_dir} does not say what graph it was trained on ({SCHEMA} is missing: an older "
            "version made it); start job/train.py on it once more"
        )
    trained, source = read_schema(run_dir), config.graph
    cached = source.cache or cache_home() / f"{source.name}-{trained.source_fingerprint[:12]}"
    folder = graph or (source.path if isinstance(source, Folder) else cached)
    if not (folder / SCHEMA).is_file():
        raise ConfigError(
            f"graph.path: {folder} is no graph folder; say where the graph of the run is now"
        )
    store = GraphStore(folder)
    if store.fingerprint != trained.fingerprint:
        raise ConfigError(f"graph.path: {folder} is not the graph that the run was trained on")
    return trained, store
