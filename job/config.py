"""config: one YAML file and `key.path=value` overrides to a JobConfig, or every mistake at once."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from job.track import Track
from job.yaml12 import MAX_DEPTH, fault_of, parse
from mtl.balancing import Balancing, OnGramian
from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.loaders import AllOrNumNeighbors, Loader, neighbors_of, num_hops
from mtl.models import Model
from mtl.plugin import Options, Share, dump, explain, path_of, shown, validated
from mtl.tasks import Task

CONFIGS = Path(__file__).parent / "configs"
QUICKSTART = CONFIGS / "quickstart.yaml"
MAX_CHARACTERS, MAX_NAME = 1 << 20, 100


def _one_name(name: str) -> str:
    if not re.fullmatch(r"[^/\\]+", name) or name in (".", "..") or not name.isprintable():
        raise ValueError(f"{shown(name)} is no name (no /, no control characters, not empty)")
    return name


@dataclass(frozen=True, kw_only=True)
class Run(Options):
    """Which run this is."""

    name: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_one_name)]
    """Name in the run directory, in MLflow and on the cluster."""
    dir: Path
    """Run directory; default runs/NAME. The same command finds its checkpoints there."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Everything random follows from it: initial weights, data order, neighbours, dropout."""


@dataclass(frozen=True, kw_only=True)
class Optim(Options):
    """How weights follow gradients."""

    algorithm: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW decays weights apart from the gradient; Adam and SGD add the decay to it."""
    lr: PositiveFloat = 1e-3
    """Learning rate after the warm-up."""
    weight_decay: NonNegativeFloat = 0.0
    """Decay of all weights."""
    momentum: Share = 0.9
    """Of SGD alone."""
    clip_norm: PositiveFloat | None = None
    """Longest gradient, over all weights of the model; longer ones are scaled down to it."""
    warmup_steps: NonNegativeInt = 0
    """Steps in which the learning rate rises from 0 to `lr`."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: constant, or falling to 0 at the last step along half a cosine."""


@dataclass(frozen=True, kw_only=True)
class Train(Options):
    """How long and how precisely to train."""

    epochs: PositiveInt
    """Passes over all training seeds."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """auto: bf16 where the hardware has it, else fp32. fp64 is for proofs and tests."""
    compression: Literal["none", "bf16"] = "none"
    """Of the gradients that processes exchange: bf16 halves the bytes, where the network is what a
    step waits for (`time/communication`). Sums are rounded to 8 bits then: all processes still hold
    the same weights, but another number of processes no longer gives the same numbers."""
    compile: bool = False
    """Let torch.compile fuse the operations of the layers in training: fewer and larger ones, for
    GPUs that wait for the CPU. The first steps take a minute longer; batches of any size use the
    same code. It needs a C++ compiler, and rounds a little differently."""
    on_nonfinite: Literal["stop", "skip_step", "skip_task"] = "stop"
    """What to do where a loss or a gradient is infinite or no number, on all processes alike: stop
    with exit code 76, leave the step out, or leave the tasks out that it comes from for that step.
    (skip_step and skip_task wait for the device once a step.)"""
    timeout_seconds: PositiveFloat = 300.0
    """Of several processes: how long nothing may move, once the job trains. Then the process that
    hangs or is frozen is named, with the place where it stands, and the job ends with exit code 79.
    Raise it where a single batch takes minutes."""
    profile: PositiveInt | None = None
    """Steps to record with torch's profiler after the first few of each start, on every process:
    RUN_DIR/profile/rankN.json.gz, for https://ui.perfetto.dev, and rankN.txt. They are slower
    meanwhile. null records none."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Options):
    """When and how to evaluate."""

    every_epochs: PositiveInt = 1
    """Epochs between two evaluations of the validation split."""
    select: str = "mean_gain"
    """What the best checkpoint is best in: mean_gain (mean over the tasks of the relative reduction
    of the validation loss against the trivial predictor) or a metric `TASK/METRIC`."""
    patience: PositiveInt | None = None
    """Stop after so many evaluations without improvement; null trains to the end."""
    batch_size: PositiveInt = 1024
    """Seeds that a process evaluates at a time."""
    num_neighbors: AllOrNumNeighbors | None = None
    """Neighbours per hop in evaluation, drawn the same every time; -1 takes all. Default: those of
    the loader. The word all takes all neighbours, too, but computes each layer once for all nodes
    before the next one: memory does not grow with the neighbourhood, and a large graph is done
    sooner. `docs/predict.md` says when."""
    scratch: Path | None = None
    """Folder for what the layers hand on with `num_neighbors: all`, on a disk of each machine.
    Default: the system's temporary folder (TMPDIR). Nothing is left there."""
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Level of the intervals beside the final metrics, such as 0.95: the examples of the test split
    are drawn anew (bootstrap). null computes none."""
    resamples: Annotated[int, Field(ge=20)] = 200
    """How often they are drawn anew. For 100,000 examples 200 draws take a second (regression)
    to two minutes (edges among 100 candidates) a task."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Options):
    """When to save; the best one is always kept beside."""

    every_epochs: PositiveInt = 1
    """Epochs between two checkpoints; one is saved at each new best and at the end, too."""
    keep: PositiveInt = 2
    """How many of the newest ones to keep."""
    strict: bool = False
    """Refuse to go on where the newest one is damaged, instead of going on from the one before."""


@dataclass(frozen=True, kw_only=True)
class JobConfig(Options):
    """All options of one job."""

    run: Run
    graph: Source
    tasks: dict[str, Task]
    model: Model
    train: Train
    loader: Loader = field(default_factory=Loader)
    balancing: Balancing = field(default_factory=lambda: Balancing.read({"type": "equal"}))
    optim: Optim = field(default_factory=Optim)
    evaluate: Evaluate = field(default_factory=Evaluate)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    track: Track = field(default_factory=Track)
    cluster: dict[str, Any] | None = None
    """Read by launch/k8s.py alone."""


def load(argv: list[str]) -> JobConfig:
    """Read `[CONFIG.yaml] [key.path=value ...]`; without a file, the quick start.

    Raises:
        ConfigError: with all mistakes, one a line, each with its YAML path and what is allowed.
    """
    files = [arg for arg in argv if "=" not in arg]
    if len(files) > 1:
        raise ConfigError(f"expected one configuration file, found {', '.join(files)}")
    path = Path(files[0]) if files else QUICKSTART
    return read(tree_at(path), [arg for arg in argv if "=" in arg])


def read(tree: dict[str, Any], assignments: list[str]) -> JobConfig:
    """Make the configuration of a tree and overrides.

    Raises:
        ConfigError: as `load`.
    """
    for assignment in assignments:
        assign(tree, assignment)
    if isinstance(tree.get("tasks"), dict):
        tree["tasks"] = {name: task for name, task in tree["tasks"].items() if task is not None}
    if isinstance(tree.get("run"), dict) and "name" in tree["run"]:
        tree["run"].setdefault("dir", f"runs/{tree['run']['name']}")
    try:
        config = validated(JobConfig, tree)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, JobConfig))) from None
    mistakes = list(_check(config))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return config


def tree_of(config: JobConfig) -> dict[str, Any]:
    """Return the configuration as a plain tree, as it stands in RUN_DIR/config.yaml."""
    tree = dump(config)
    assert isinstance(tree, dict)
    return tree


def tree_at(path: Path) -> dict[str, Any]:
    """Read a configuration file as the tree that it is.

    Raises:
        ConfigError: it is missing, no YAML, or no mapping.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")  # a pipe would be waited for
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except FileNotFoundError:
        shipped = ", ".join(sorted(p.name for p in CONFIGS.glob("*.yaml")))
        raise ConfigError(f"{path}: no such file (shipped in {CONFIGS.name}/: {shipped})") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r}: cannot be read as text: {error}") from None
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{path}: longer than {MAX_CHARACTERS:,} characters: no configuration")
    tree = parse(text, str(path))
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping, found {type(tree).__name__}")
    return tree


def assign(tree: dict[str, Any], assignment: str) -> None:
    """Put `key.path=value` into a tree.

    Raises:
        ConfigError: the value is no YAML, or something above it is no mapping.
    """
    key, _, text = assignment.partition("=")
    *parents, leaf = key.split(".")
    if "" in (*parents, leaf) or len(parents) > MAX_DEPTH or fault_of(key):
        raise ConfigError(f"{shown(assignment)}: expected key.path=value")
    path = path_of(*parents, leaf)
    node = tree
    for depth, parent in enumerate(parents):
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            above = path_of(*parents[: depth + 1])
            raise ConfigError(f"{path}: {above} is {shown(node)}, not a mapping to override")
    node[leaf] = parse(text, f"override {path}")


def _check(config: JobConfig) -> list[str]:
    """Return what is wrong between options that are right by themselves."""
    from torch.nn import ModuleDict  # the tasks have imported torch by now

    mistakes, reserved = [], ModuleDict()
    loader, encoder, evaluate = config.loader, config.model.encoder, config.evaluate
    evaluated = neighbors_of(evaluate.num_neighbors, loader.num_neighbors)
    if not config.tasks:
        mistakes.append("tasks: a job needs at least one task")
    for path, neighbors in (
        ("loader.num_neighbors", loader.num_neighbors),
        ("evaluate.num_neighbors", evaluated),
    ):
        if encoder.num_hops and num_hops(neighbors) != encoder.num_hops:
            mistakes.append(
                f"{path}: has {num_hops(neighbors)} hops, but model.encoder.num_layers is "
                f"{encoder.num_hops}; give one number a layer"
            )
    if encoder.needs_uniform and (loader.weighted or loader.temporal):
        mistakes.append(
            f"loader.{'weighted' if loader.weighted else 'temporal'}: model.encoder {encoder.type} "
            "normalises with the degrees of the whole graph, as if neighbours were drawn uniformly "
            "from all of them; take another encoder"
        )
    reason = config.model.sharing.no_representation
    if (
        isinstance(config.balancing, OnGramian)
        and config.balancing.at == "representation"
        and reason
    ):
        mistakes.append(
            f"balancing.at: model.sharing {config.model.sharing.type} has no representation that "
            f"all tasks read ({reason}); take `at: parameters`, or leave it out"
        )
    for name in config.tasks:
        if not name.isidentifier() or hasattr(reserved, name) or len(name) > MAX_NAME:
            mistakes.append(
                f"{path_of('tasks', name)}: no name for a task; take up to {MAX_NAME} "
                "letters, digits and _, and no word that torch.nn.ModuleDict has taken, such as "
                "type, keys or train"
            )
    if config.train.precision == "fp64" and config.train.compression != "none":
        mistakes.append(
            f"train.compression: {config.train.compression} rounds what train.precision: fp64 is "
            "there to keep; take none"
        )
    if evaluate.select != "mean_gain" and evaluate.select.split("/")[0] not in config.tasks:
        mistakes.append(
            f"evaluate.select: expected mean_gain or TASK/METRIC with TASK one of "
            f"{', '.join(config.tasks)}, found {shown(evaluate.select)}"
        )
    return mistakes
