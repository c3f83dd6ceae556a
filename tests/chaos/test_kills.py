"""A process is killed at any moment: the same command goes on as if it had not been."""

import os
import random
import signal
import time
from itertools import count

import pytest

KILLS = int(os.environ.get("GRAPHMTL_KILLS", "300"))
OTHERS_SECONDS = 4 + 15  # train.timeout_seconds, and what the watchdog needs
CASES = [(1, 4), (2, 4)]
CASES += [pytest.param(nproc, KILLS // 3, marks=pytest.mark.soak) for nproc in (1, 2, 4)]


@pytest.mark.parametrize(("nproc", "kills"), CASES)
def test_a_run_that_was_killed_again_and_again_ends_as_one_that_was_not(
    nproc, kills, small_job, tmp_path, fault_report
):
    fault = fault_report(
        "a process is killed",
        f"SIGKILL to a random process of {nproc} at a random moment between start and end, up to "
        "four times a run; then the same command to its end",
        "weights, record and results equal those of a run that nobody killed, bit for bit; the "
        "other processes end by themselves within 19 s",
    )
    rng = random.Random(nproc)
    for number in count():
        folder, goal = tmp_path / str(number), min(kills, fault.times + rng.randrange(1, 5))
        while fault.times < goal and killed(small_job, folder, nproc, rng):
            fault.times += 1
        small_job.finish(folder, nproc)
        if fault.times == kills:
            break


def killed(small_job, folder, nproc, rng):
    """Start the job and kill a process of it; return whether it had not ended by then."""
    job, victim = small_job.start(folder, nproc), rng.randrange(nproc)
    small_job.wait(job, folder, rng)
    have_met = " cores" in job.outputs[0][1].read_text()  # the first says what it runs on
    job.kill(victim, signal.SIGKILL)
    for other in set(range(nproc)) - {victim}:
        if not have_met:  # they wait for it, and torchrun would end them
            job.kill(other, signal.SIGKILL)
    begin = time.monotonic()
    ending = job.end()
    assert time.monotonic() - begin < OTHERS_SECONDS, ending.stderr
    assert {*ending.codes} <= {0, 70, 79, -signal.SIGKILL}, ending.stderr
    return ending.codes[victim] == -signal.SIGKILL


def test_a_run_directory_has_one_owner_and_is_free_when_that_is_killed(
    small_job, start, wait_for_step, tmp_path, fault_report
):
    fault = fault_report(
        "two jobs in one run directory",
        "start a second one beside the first; kill the first; start two at once",
        "the second ends with 78 and names host, process and start of the first; a killed owner's "
        "directory is free at once, for one of both",
    )
    run_dir, argv = tmp_path / "runs" / "smoke", small_job.argv(tmp_path)
    first = start(tmp_path, *argv, "train.epochs=100000")
    wait_for_step(run_dir, 1)
    second = start(tmp_path, *argv).end()
    assert second.code == 78
    assert f"process {first.pids[0]} on {os.uname().nodename}" in second.stderr
    assert "since" in second.stderr
    first.kill(0, signal.SIGKILL)
    assert first.end().code == -signal.SIGKILL
    both = [start(tmp_path, *argv) for _ in range(2)]
    assert sorted(job.end().code for job in both) == [0, 78]
    fault.times = 3
