"""A run that goes on with other numbers of processes, in the middle of epochs, stays the same."""

import json
from collections import defaultdict

import pytest
import torch
from safetensors.torch import load_file

RECORD = "tests/chaos/seeds.py"
WALK = ((4, 10), (2, 31), (3, 52), (1, None))
"""Numbers of processes, and the step at which they are stopped; an epoch has 22."""
WALKS = [WALK, pytest.param(((1, 3), (3, 25), (4, 47), (2, 70), (3, None)), marks=pytest.mark.soak)]


@pytest.mark.parametrize("walk", WALKS)
def test_a_run_walks_over_numbers_of_processes_and_stays_the_same(
    walk, start, small_job, tmp_path, fault_report
):
    fault = fault_report(
        "another number of processes",
        "stopped in the middle of epochs, and gone on with 4, 2, 3 and 1 processes",
        "the same seeds in each step, each of them once an epoch; losses and weights equal those "
        "of one process within 1e-9 (fp64)",
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, stages in ((whole, ((1, None),)), (parts, walk)):
        folder.mkdir()
        argv = small_job.argv(folder, "train.precision=fp64")
        for nproc, stop_at in stages:
            job = start(folder, *argv, nproc=nproc, script=RECORD, stop_at=stop_at)
            assert set(job.end().codes) == {75 if stop_at else 0}
    fault.times = len(walk) - 1
    assert seeds(parts) == seeds(whole)
    for epoch in range(4):
        once = [seed for step in range(22) for seed in seeds(parts)[epoch * 22 + step + 1]]
        assert len(once) == len(set(once)) == 173
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-9, nan_ok=True)
    found, expected = (load_file(weights(folder)) for folder in (parts, whole))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def seeds(folder):
    """Return the seeds of each step, of all processes together."""
    found = defaultdict(list)
    for path in folder.glob("seeds.*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            found[record["step"]] += record["seeds"]
    return {step: sorted(numbers) for step, numbers in sorted(found.items())}


def losses(folder):
    """Return the losses of the record, each point by its place in it."""
    text = (folder / "runs" / "smoke" / "metrics.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    return {
        f"{step} {name} {number}": value
        for number, (step, name, value) in enumerate(
            (record["step"], name, value)
            for record in records
            for name, value in record.items()
            if name.startswith("train/") and name.endswith("/loss")
        )
    }


def weights(folder):
    return max((folder / "runs" / "smoke" / "checkpoints").iterdir()) / "model.safetensors"
