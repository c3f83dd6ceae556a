"""However the job is started, and with however many processes: the same numbers."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "job" / "train.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
LAUNCHERS = {
    "python": [TRAIN],
    "torchrun2": [*TORCHRUN, "--nproc_per_node=2", TRAIN],
    "torchrun4": [*TORCHRUN, "--nproc_per_node=4", TRAIN],
    "accelerate": ["-m", "accelerate.commands.launch", TRAIN],
    "local": [str(ROOT / "launch" / "local.py"), "--nproc", "2"],
}
WORLD_SIZES = {"python": 1, "torchrun2": 2, "torchrun4": 4, "accelerate": 1, "local": 2}
JOB = [
    str(ROOT / "job" / "configs" / "smoke.yaml"),
    "graph.num_nodes=300",  # 3 steps of 4 microbatches
    "loader.batch_size=16",
    "loader.global_batch_size=64",
    "train.epochs=1",
    "train.precision=fp64",
    "track.mlflow=null",
    "track.every_steps=1",
]


@pytest.fixture(scope="module")
def run_dirs(command, tmp_path_factory):
    """The run directories of all launchers, started at once on a machine without the graph."""
    cwd = {name: tmp_path_factory.mktemp(name) for name in LAUNCHERS}
    started = {name: command(cwd[name], *argv, *JOB) for name, argv in LAUNCHERS.items()}
    endings = {name: end() for name, end in started.items()}
    assert {name: ending.code for name, ending in endings.items()} == dict.fromkeys(LAUNCHERS, 0)
    return {name: folder / "runs" / "smoke" for name, folder in cwd.items()}


@pytest.mark.parametrize("launcher", [name for name in LAUNCHERS if name != "python"])
def test_every_launcher_gives_the_metrics_of_one_process(launcher, run_dirs):
    metrics, expected = (summary(run_dirs[name])["metrics"] for name in (launcher, "python"))
    assert metrics == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("launcher", [name for name in LAUNCHERS if name != "python"])
def test_every_launcher_gives_the_training_losses_of_one_process(launcher, run_dirs):
    losses, expected = (train_losses(run_dirs[name]) for name in (launcher, "python"))
    assert len(expected) == 3
    assert losses == [pytest.approx(step, rel=1e-9) for step in expected]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_starts_as_many_processes_as_it_was_told(launcher, run_dirs):
    assert summary(run_dirs[launcher])["world_size"] == WORLD_SIZES[launcher]


def summary(run_dir):
    """Return summary.json."""
    return json.loads((run_dir / "summary.json").read_text())


def train_losses(run_dir):
    """Return the training losses of each step."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    steps = [{k: v for k, v in json.loads(x).items() if k.startswith("train/")} for x in lines]
    return [step for step in steps if step]
