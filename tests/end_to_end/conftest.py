"""The job started in every way there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "job" / "configs" / "smoke.yaml")
TRAIN = str(ROOT / "job" / "train.py")
TINY = ["graph.num_nodes=300", "train.epochs=1", "track.every_steps=1"]
SILENT = ["track.mlflow=null", "track.report=false"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
LAUNCHERS = {
    "python": [TRAIN],
    "torchrun2": [*TORCHRUN, "--nproc_per_node=2", TRAIN],
    "torchrun4": [*TORCHRUN, "--nproc_per_node=4", TRAIN],
    "accelerate": ["-m", "accelerate.commands.launch", TRAIN],
    "local": [str(ROOT / "launch" / "local.py"), "--nproc", "2"],
}
THREE_STEPS = [  # of 4 microbatches
    *("loader.batch_size=16", "loader.global_batch_size=64"),
    "train.precision=fp64",
]


@pytest.fixture(scope="session")
def launched(
    command: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Any, Path]]:
    """One job started in every way there is: how it ended, and in which folder.

    All start at once on a machine without the graph; the one of four processes tells
    MLflow, and writes a page.
    """
    folders = {name: tmp_path_factory.mktemp(name) for name in LAUNCHERS}
    silent = {name: SILENT * (name != "torchrun4") for name in LAUNCHERS}
    started = {
        name: command(folders[name], *argv, SMOKE, *TINY, *THREE_STEPS, *silent[name])
        for name, argv in LAUNCHERS.items()
    }
    return {name: (end(), folders[name]) for name, end in started.items()}
