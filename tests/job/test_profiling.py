"""A profile holds the steps it was asked for, and the names of the parts of the time."""

import gzip
import json

import pytest
import torch

from job.clock import Clock, CpuTimer
from job.profiling import SKIPPED_STEPS, WARM_UP_STEPS, profiled
from mtl.collective import Alone

FIRST = SKIPPED_STEPS + WARM_UP_STEPS


class Runtime(Alone):
    device = torch.device("cpu")

    def __init__(self):
        self.clock = Clock(CpuTimer())


def train(num_steps, profile_steps, folder):
    """Take some steps; return what people were told."""
    runtime, said = Runtime(), []
    with profiled(profile_steps, folder, runtime, said.append) as end_step:
        for _ in range(num_steps):
            with runtime.clock("forward"):
                x = torch.ones(8, 8, requires_grad=True) @ torch.ones(8, 8)
            with runtime.clock("backward"):
                x.sum().backward()
            end_step()
    return said


def names(folder):
    with gzip.open(folder / "profile" / "rank0.json.gz") as file:
        return [event.get("name") for event in json.load(file)["traceEvents"]]


@pytest.mark.parametrize(
    ("num_steps", "recorded"), [(FIRST + 9, 3), (FIRST + 3, 3), (FIRST + 2, 2)]
)
def test_as_many_steps_are_recorded_as_asked_or_as_there_are(num_steps, recorded, tmp_path):
    said = train(num_steps, 3, tmp_path)
    counts = [names(tmp_path).count(part) for part in ("forward", "backward")]
    assert counts == [recorded, recorded]
    assert "aten::mm" in (tmp_path / "profile" / "rank0.txt").read_text()
    assert len(said) == 1
    assert "perfetto" in said[0]


def test_a_training_that_is_too_short_says_so(tmp_path):
    assert ["not written" in text for text in train(FIRST - 1, 3, tmp_path)] == [True]
    assert not (tmp_path / "profile").exists()


def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path):
    assert train(FIRST + 3, None, tmp_path) == []
    assert not (tmp_path / "profile").exists()
