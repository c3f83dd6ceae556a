"""Predict with a run: Parquet files with the user's own ids, written by all processes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from job.config import JobConfig, load
from job.runtime import Runtime, run_command
from mtl.errors import ConfigError
from mtl.plugin import nearest

USAGE = """
usage: python job/predict.py RUN_DIR OUT_DIR [option=value ...] [key.path=value ...]
       torchrun --nproc_per_node=N job/predict.py RUN_DIR OUT_DIR ...

Write what a trained run predicts to OUT_DIR/TASK/part-*.parquet, under your own ids. The same
command goes on where it was stopped; every number of processes writes the same files.

  tasks=NAME,NAME               default: all that need nothing more (feature_reconstruction only if
                                it is named, link_prediction only with pairs=)
  split=all|train|val|test      rows to predict; default all
  checkpoint=best|last|STEP     default best
  embeddings=true               what the heads read, too: OUT_DIR/embeddings/NODE_TYPE/
  pairs=FILE.parquet|FILE.csv   pairs of ids (columns src, dst) that link prediction scores
  graph.path=FOLDER             another graph with the same types and features (job/prepare.py)
  key.path=value                changes the run's configuration, as in training:
                                evaluate.batch_size=4096, evaluate.num_neighbors=all
"""
SPLITS = ("all", "train", "val", "test")
OWN = ("tasks", "split", "checkpoint", "embeddings", "pairs", "graph.path")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody wants to have predicted."""

    run_dir: Path
    out_dir: Path
    config: JobConfig
    tasks: tuple[str, ...]
    split: str
    checkpoint: str
    embeddings: bool
    pairs: Path | None
    graph: Path | None


def main(argv: list[str]) -> None:
    """Check what is wanted, then predict."""
    wish = read(argv)
    precision, threads = wish.config.train.precision, wish.config.loader.num_threads
    with Runtime(precision, wish.out_dir, threads) as runtime:
        from job.prediction_run import predict  # this imports torch_geometric: it takes seconds

        predict(wish, runtime)


def read(argv: list[str]) -> Wish:
    """Read the command line and the configuration of the run.

    Raises:
        ConfigError: with what was found and what is allowed.
    """
    assigned = dict(arg.split("=", 1) for arg in argv if arg.split("=", 1)[0] in OWN and "=" in arg)
    rest = [arg for arg in argv if arg.split("=", 1)[0] not in OWN or "=" not in arg]
    run_dir, out_dir = _places([arg for arg in rest if "=" not in arg])
    overrides = [arg for arg in rest if "=" in arg]
    check_options(overrides, OWN)
    config = load([str(run_dir / "config.yaml"), *overrides])
    if config.loader.temporal and not config.loader.seed_time and "pairs" in assigned:
        raise ConfigError(
            "pairs: with loader.temporal a pair needs a time; say as of when all are looked at: "
            "loader.seed_time={train: ..., val: ..., test: ...}"
        )
    return Wish(
        run_dir=run_dir,
        out_dir=out_dir,
        config=replace(config, run=replace(config.run, dir=run_dir)),
        tasks=_tasks(config, assigned.get("tasks"), pairs="pairs" in assigned),
        split=_one_of("split", assigned.get("split", "all"), SPLITS),
        checkpoint=_checkpoint(assigned.get("checkpoint", "best")),
        embeddings=_one_of("embeddings", assigned.get("embeddings", "false"), ("true", "false"))
        == "true",
        pairs=_pairs(assigned.get("pairs")),
        graph=_graph(assigned.get("graph.path")),
    )


def _places(places: list[str]) -> tuple[Path, Path]:
    if len(places) != 2 or not (Path(places[0]) / "config.yaml").is_file():
        raise ConfigError(
            "expected RUN_DIR (it holds a config.yaml) and OUT_DIR, found "
            f"{' '.join(places) or 'nothing'}"
        )
    run_dir, out_dir = Path(places[0]), Path(places[1])
    if (out_dir / "config.yaml").exists():
        raise ConfigError(f"OUT_DIR: {out_dir} is a run directory; take a folder of its own")
    return run_dir, out_dir


def check_options(overrides: Sequence[str], own: Sequence[str]) -> None:
    """Refuse a word that is neither an option of a command's own nor a section's key."""
    sections = [field.name for field in fields(JobConfig)]
    for override in overrides:
        name = override.split("=", 1)[0]
        if name.split(".")[0] not in sections:
            raise ConfigError(
                f"{name}: no such option{nearest(name, [*own, *sections])} (allowed: "
                f"{', '.join(own)}, and keys of {', '.join(sections)})"
            )


def _tasks(config: JobConfig, wanted: str | None, *, pairs: bool) -> tuple[str, ...]:
    """Return the names of the tasks to predict."""
    kinds = {name: task.type for name, task in config.tasks.items()}
    links = [name for name, kind in kinds.items() if kind == "link_prediction"]
    if wanted is None:
        left_out = {"feature_reconstruction"} | (set() if pairs else {"link_prediction"})
        names = tuple(name for name, kind in kinds.items() if kind not in left_out)
    else:
        names = tuple(dict.fromkeys(wanted.split(",")))
    for name in names:
        if name not in kinds:
            raise ConfigError(
                f"tasks: the run has no task {name!r}{nearest(name, list(kinds))} (it has: "
                f"{', '.join(kinds)})"
            )
    chosen = [name for name in names if name in links]
    if chosen and not pairs:
        raise ConfigError(f"tasks: {', '.join(chosen)} scores pairs of nodes: list them in pairs=")
    if pairs and not chosen:
        raise ConfigError(
            f"pairs: no link prediction is asked for (the run has: {', '.join(links) or 'none'})"
        )
    if not names:
        raise ConfigError(
            f"tasks: nothing is left to predict; name some of {', '.join(kinds)} in tasks= "
            "(link_prediction needs pairs=)"
        )
    return names


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name}: expected one of {', '.join(allowed)}, found {value!r}")
    return value


def _checkpoint(value: str) -> str:
    if value not in ("best", "last") and not value.isdecimal():
        raise ConfigError(f"checkpoint: expected best, last or a step, found {value!r}")
    return value


def _pairs(value: str | None) -> Path | None:
    if value is None:
        return None
    path = Path(value)
    if path.suffix not in (".parquet", ".csv") or not path.is_file():
        raise ConfigError(f"pairs: expected a .parquet or .csv file that is there, found {value!r}")
    return path


def _graph(value: str | None) -> Path | None:
    if value is None:
        return None
    if not (Path(value) / "graph.json").is_file():
        raise ConfigError(
            f"graph.path: expected a graph folder (job/prepare.py makes one), found {value!r}"
        )
    return Path(value)


if __name__ == "__main__":
    run_command(main, USAGE)
