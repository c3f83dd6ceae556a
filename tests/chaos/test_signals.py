"""A job is asked to stop at any moment: it saves what it has, says 75 and goes on later."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "job" / "train.py")
LAUNCHERS = {
    "python": (1, [TRAIN]),
    "local": (2, [str(ROOT / "launch" / "local.py"), "--nproc", "2"]),
    "torchrun": (2, ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone",
                     "--local-addr=127.0.0.1", TRAIN]),
}  # fmt: skip
BAR = "exit code 75; the same command then ends like a run that nobody stopped, bit for bit"


def soak(*values):
    return pytest.param(*values, marks=pytest.mark.soak)


@pytest.mark.parametrize(("nproc", "times"), [(1, 3), (2, 4), soak(1, 100), soak(2, 100)])
def test_a_signal_at_any_moment_ends_the_job_with_75_and_it_goes_on(
    nproc, times, small_job, tmp_path, fault_report
):
    fault = fault_report(
        "SIGTERM or SIGINT",
        "to all processes (1 or 2) at a random moment between start and end",
        BAR,
    )
    rng, number = random.Random(nproc), 0
    while fault.times < times:
        number += 1
        folder = tmp_path / str(number)
        goal = min(times, fault.times + rng.randrange(1, 4))
        while fault.times < goal and stopped(small_job, folder, nproc, rng):
            fault.times += 1
        small_job.finish(folder, nproc)


def stopped(small_job, folder, nproc, rng):
    """Start the job and ask it to stop; return whether that came before its end."""
    name = rng.choice((signal.SIGTERM, signal.SIGINT))
    job = small_job.start(folder, nproc)
    while not all(catches(pid) for pid in job.pids):
        time.sleep(0.002)
    small_job.wait(job, folder, rng)
    for rank in range(nproc):
        job.kill(rank, name)
    begin = time.monotonic()
    ending = job.end()
    assert time.monotonic() - begin < 15
    assert ending.codes in ([75] * nproc, [0] * nproc), ending
    assert "Traceback" not in ending.stderr
    return ending.codes[0] == 75


def catches(pid):
    """Return whether a process has a handler for SIGTERM: Python itself does not yet."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    ended = status["State"].split()[0] == "Z"
    return ended or bool(int(status.get("SigCgt", "0"), 16) >> (signal.SIGTERM - 1) & 1)


def test_a_second_signal_ends_the_job_at_once(
    small_job, start, wait_for_step, tmp_path, fault_report
):
    fault = fault_report(
        "a second signal",
        "SIGTERM in the middle of a step that takes a minute, and again two seconds later",
        "ends at once, as the signal says: 143",
    )
    job = start(tmp_path, *small_job.argv(tmp_path), script="tests/chaos/slow.py")
    wait_for_step(tmp_path / "runs" / "smoke", 2)
    time.sleep(1)
    job.kill(0, signal.SIGTERM)
    time.sleep(2)
    assert not job.over()
    job.kill(0, signal.SIGTERM)
    begin = time.monotonic()
    assert job.end().code == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 5
    fault.times = 1


CASES = [  # launcher, who gets the signal, which
    ("local", "group", signal.SIGINT),
    ("torchrun", "process", signal.SIGTERM),
]
MORE = [(name, to, number) for name in LAUNCHERS for to in ("process", "group")
        for number in (signal.SIGTERM, signal.SIGINT)]  # fmt: skip


@pytest.mark.parametrize("cases", [CASES, *(soak([case] * 5) for case in MORE)])
def test_a_signal_to_what_started_the_job_ends_it_with_75_and_it_goes_on(
    cases, small_job, command, wait_for_step, tmp_path, fault_report
):
    fault = fault_report(
        "SIGTERM or SIGINT to what started the job",
        "to python, launch/local.py or torchrun alone, or to its process group as Ctrl-C does, at "
        "a random step",
        f"{BAR} (torchrun's own exit code is 1, or the signal's: exit.json says 75)",
    )
    rng = random.Random(str(cases))
    for number, (name, to, which) in enumerate(cases):
        folder, (nproc, launcher) = tmp_path / str(number), LAUNCHERS[name]
        folder.mkdir()
        run_dir = folder / "runs" / "smoke"
        program = command(folder, *launcher, *small_job.argv(folder))
        wait_for_step(run_dir, rng.randrange(1, 80))
        send = program.process.send_signal if to == "process" else group(program)
        send(which)
        ending = program()
        assert name == "torchrun" or ending.code == 75, ending.stderr
        assert json.loads((run_dir / "exit.json").read_text())["code"] == 75, ending.stderr
        small_job.finish(folder, nproc)
        fault.times += 1


def group(program):
    """Return what sends a signal to a program and all that it has started in its group."""
    return lambda number: os.killpg(program.process.pid, number)
