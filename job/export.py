"""Export a run as a model of MLflow: a folder that predicts wherever Python is."""

from pathlib import Path

from job.mlflow_models import run_of, send_model_of
from job.runtime import run_command
from mtl.errors import ConfigError
from mtl.plugin import nearest

USAGE = """
usage: python -m job.export RUN_DIR OUT_DIR [option=value ...]

Write a trained run as a model of MLflow: mlflow.pyfunc.load_model(OUT_DIR) predicts, without this
program installed. Runs with track.mlflow.log_model=true are exported and sent at their end.

  checkpoint=best|last|STEP     default best
  graph.path=FOLDER             where the graph of the run is, if it has moved
  register=NAME                 send it to the run's MLflow store, too, and register it there
  key.path=value                changes the configuration of its predictions:
                                evaluate.batch_size=64, train.precision=fp32
"""
OPTIONS = ("checkpoint", "graph.path", "register")
SECTIONS = ("evaluate", "loader", "train")


def main(argv: list[str]) -> None:
    """Check what is wanted, write the model, register it where that is wanted.

    Raises:
        ConfigError: with what was found and what is allowed.
    """
    places = [arg for arg in argv if "=" not in arg]
    overrides = [arg for arg in argv if "=" in arg and arg.split(".")[0] in SECTIONS]
    options = dict(arg.split("=", 1) for arg in argv if "=" in arg and arg not in overrides)
    if len(places) != 2 or not (Path(places[0]) / "config.yaml").is_file():
        found = " ".join(places) or "nothing"
        raise ConfigError(f"expected RUN_DIR (it holds a config.yaml) and OUT_DIR, found {found}")
    for name in options.keys() - set(OPTIONS):
        hint = nearest(name, [*OPTIONS, *SECTIONS])
        allowed = f"{', '.join(OPTIONS)}, and keys of {', '.join(SECTIONS)}"
        raise ConfigError(f"{name}: no such option{hint} (allowed: {allowed})")
    run_dir, out_dir = map(Path, places)
    if out_dir.exists():
        raise ConfigError(f"OUT_DIR: {out_dir} is there already; name a folder that is new")
    if "register" in options:
        run_of(run_dir)  # or nothing is written
    from job.export_folder import write_model  # this imports torch_geometric: it takes seconds

    graph = Path(options["graph.path"]) if "graph.path" in options else None
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    write_model(
        run_dir,
        out_dir,
        overrides=overrides,
        checkpoint=options.get("checkpoint", "best"),
        graph=graph,
        register=options.get("register"),
    )
    print(f"mlflow.pyfunc.load_model({str(out_dir)!r})")
    if "register" in options:
        print(send_model_of(run_dir, out_dir))


if __name__ == "__main__":
    run_command(main, USAGE)
