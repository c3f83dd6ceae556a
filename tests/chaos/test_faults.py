"""What a job does when the machine lets it down."""

import json
import signal
import socket
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
JOB = [
    str(ROOT / "job" / "train.py"),
    str(ROOT / "job" / "configs" / "smoke.yaml"),
    *("graph.num_nodes=300", "model.dim=256", "train.epochs=2", "track.mlflow=null"),
]
LARGE, SMALL = 1 << 30, 1 << 19
"""Bytes that a file may have: all, or the graph and the metrics but no checkpoint."""


@pytest.fixture
def limited(command, tmp_path):
    """Run the job with a limit on the size of files."""
    return lambda size, *overrides: command(tmp_path, "-c", LIMITED, str(size), *JOB, *overrides)()


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "runs" / "smoke"


def test_a_full_disk_ends_no_training_and_costs_no_checkpoint(limited, run_dir, fault_report):
    fault = fault_report(
        "the disk is full while a checkpoint is saved",
        "a limit on the size of files (RLIMIT_FSIZE) that a checkpoint exceeds",
        "the training goes on to its results, the checkpoint before is kept, a message says so; a "
        "run that has none ends with 73 after it has shown its results",
        times=1,
    )
    assert limited(LARGE, "train.epochs=1").code == 0
    (before,) = (run_dir / "checkpoints").iterdir()
    ending = limited(SMALL)
    assert (ending.code, fault.times) == (0, 1), ending.stderr
    assert "no checkpoint could be written" in ending.stderr
    assert "the newest is that of step 2" in ending.stderr
    assert list((run_dir / "checkpoints").iterdir()) == [before]
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 4)


def test_a_training_that_could_save_nothing_shows_its_results_and_ends_with_73(limited, run_dir):
    ending = limited(SMALL)
    assert ending.code == 73
    assert "test split" in ending.stdout
    assert "taking the last weights" in ending.stderr
    assert "step_00000004 could not be written" in ending.stderr
    assert json.loads((run_dir / "exit.json").read_text())["code"] == 73


SLOW_IMPORT = """
import runpy, sys, time
import job.config
load = job.config.load
def slow(argv):
    print("importing", file=sys.stderr, flush=True)
    time.sleep(60)
job.config.load = slow
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_there_is_anything_to_save_ends_the_job_at_once_with_75(
    number, command, tmp_path
):
    program = command(tmp_path, "-c", SLOW_IMPORT, *JOB)
    wait_until(lambda: "importing" in (tmp_path / "program.err").read_text())
    start = time.monotonic()
    program.process.send_signal(number)
    ending = program()
    assert ending.code == 75
    assert time.monotonic() - start < 30
    assert f"stopped by {number.name}; the same command goes on" in ending.stderr
    assert "Traceback" not in ending.stderr


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_signal_while_the_graph_is_converted_ends_the_job_and_the_next_one_converts(
    nproc, start, tmp_path, run_dir
):
    big = [*JOB[1:], "graph.num_nodes=400000", f"graph.cache={tmp_path / 'cache'}"]
    job = start(tmp_path, *big, nproc=nproc)
    wait_until(lambda: any("cache" in path.name for path in tmp_path.iterdir()))
    for rank in range(nproc):
        job.kill(rank)
    assert job.end().codes == [75] * nproc
    assert json.loads((run_dir / "exit.json").read_text())["code"] == 75
    assert not list((tmp_path / "cache").glob("**/graph.json"))
    small = start(tmp_path, *JOB[1:], f"graph.cache={tmp_path / 'cache'}", nproc=nproc).end()
    assert small.code == 0, small.stderr


def wait_until(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_frozen_processes_are_named_and_end_the_job_with_79(
    start, wait_for_step, tmp_path, fault_report
):
    fault = fault_report(
        "a process is frozen",
        "SIGSTOP to the last of 2 processes, and to the first of 2 and of 3",
        "it is named, all others end with 79 within train.timeout_seconds + 15 s, and it is killed",
    )
    jobs = []
    for number, (nproc, frozen) in enumerate([(2, 1), (2, 0), (3, 0)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        # No checkpoint: a process that is killed as it writes one leaves the half of it.
        never = ["evaluate.every_epochs=100000", "checkpoint.every_epochs=100000"]
        endless = ["train.epochs=100000", "train.timeout_seconds=4", *never]
        job = start(folder, *JOB[1:], *endless, nproc=nproc)
        jobs.append((job, frozen))
    for number, _ in enumerate(jobs):
        wait_for_step(tmp_path / str(number) / "runs" / "smoke", 10)
    for job, frozen in jobs:
        job.kill(frozen, signal.SIGSTOP)
    begin = time.monotonic()
    for job, frozen in jobs:
        ending = job.end()
        assert time.monotonic() - begin < 4 + 15
        assert ending.codes.pop(frozen) == -signal.SIGKILL, ending.stderr
        assert set(ending.codes) == {79}
        assert "nothing has moved for 4 s (train.timeout_seconds)" in ending.stderr
        assert f"no sign of life from process {frozen} (pid {job.pids[frozen]} on" in ending.stderr
        assert f"process {frozen} stands at:\n  File" in ending.stderr
        fault.times += 1


@pytest.mark.soak  # MLflow's own 20 s
def test_a_store_that_does_not_answer_at_the_end_is_no_hang(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"track.mlflow={{uri: 'http://127.0.0.1:{silent.getsockname()[1]}'}}"
        job = start(tmp_path, *JOB[1:], "train.timeout_seconds=2", store, nproc=2)
        assert job.end().codes == [0, 0]
