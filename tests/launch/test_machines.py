"""Several machines on one: launchers that share a disk and the loopback, each with a cache of its
own, run the job itself."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
SMALL = ["graph.num_nodes=300", "track.every_steps=1", "track.report=false", "train.precision=fp64"]
SMALL += ["loader.batch_size=16", "loader.global_batch_size=64", "run.dir=run"]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start launch/local.py as one machine of two, in a directory that both see."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"

    def machine(rank: int, *job: str, nproc: int = 1) -> "subprocess.Popen[str]":
        options = ["--nnodes=2", f"--node-rank={rank}", f"--nproc={nproc}", "--max-restarts=5"]
        options += [f"--rdzv-endpoint={place}", "--local-addr=127.0.0.1"]
        smoke = str(ROOT / "job" / "configs" / "smoke.yaml")
        return subprocess.Popen(
            [sys.executable, str(ROOT / "launch" / "local.py"), *options, smoke, *SMALL, *job],
            cwd=tmp_path,
            env={
                **os.environ,
                "XDG_CACHE_HOME": str(tmp_path / f"cache{rank}"),
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            },
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return machine


def ends(*machines: "subprocess.Popen[str]") -> list[tuple[int, str]]:
    """Wait for launchers: exit code and stderr of each."""
    said = [machine.communicate(timeout=240)[1] for machine in machines]
    return [(machine.returncode, text) for machine, text in zip(machines, said, strict=True)]


def weights(run_dir: Path) -> dict[str, np.ndarray]:
    """Return the parameters of the newest checkpoint."""
    return load_file(max((run_dir / "checkpoints").glob("step_*")) / "model.safetensors")


def test_two_machines_convert_the_graph_each_and_log_one_run(machine, tmp_path):
    endings = ends(*(machine(rank, "train.epochs=1") for rank in (0, 1)))
    assert [code for code, _ in endings] == [0, 0], endings
    for rank in (0, 1):
        assert len(list((tmp_path / f"cache{rank}" / "graphmtl").glob("*/graph.json"))) == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["world_size"] == 2
    with sqlite3.connect(tmp_path / "mlflow.db") as mlflow:
        assert mlflow.execute("select count(*), max(status) from runs").fetchall() == [
            (1, "FINISHED")
        ]


@pytest.mark.soak
@pytest.mark.parametrize("lost", [0, 1])
def test_a_machine_that_dies_is_replaced_and_the_run_ends_as_if_it_had_not(
    machine, wait_until, tmp_path, lost
):
    job = ["train.epochs=8", "track.mlflow=null", "checkpoint.every_epochs=1"]
    undisturbed = [machine(rank, *job, "run.dir=undisturbed", nproc=2) for rank in (0, 1)]
    assert [code for code, _ in ends(*undisturbed)] == [0, 0]
    machines = [machine(rank, *job, nproc=2) for rank in (0, 1)]
    wait_until(lambda: list((tmp_path / "run").glob("checkpoints/step_*")), seconds=120)
    machines[lost].send_signal(signal.SIGKILL)
    machines[lost].communicate()
    machines[lost] = machine(lost, *job, nproc=2)
    endings = ends(*machines)
    assert [code for code, _ in endings] == [0, 0], endings
    expected, found = weights(tmp_path / "undisturbed"), weights(tmp_path / "run")
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
