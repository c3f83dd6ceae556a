"""What a step tells about itself."""

import math

import pytest
import torch
from torch_geometric.data import Data

from job.meter import Meter
from job.runtime import NonFiniteError
from mtl.collective import Alone


class Runtime(Alone):
    """One process on the CPU; `stop_requested` is what a signal sets."""

    device = torch.device("cpu")
    precision = "fp32"
    stop_requested = False


def batch(**num_targets):
    return Data(number=0, num_sampled_edges=[3, 4], num_targets=num_targets)


def test_a_task_without_a_label_in_the_step_has_no_loss():
    meter = Meter(Runtime(), ["a", "b"])
    meter.start()
    meter.add(torch.tensor([0.5, 0.0]), batch(a=2, b=0))
    meter.add(torch.tensor([0.25, 0.0]), batch(a=2, b=0))
    meter.close(1, torch.tensor(2.0), 4)
    assert meter.read() == {"train/a/loss": 0.75, "train/grad_norm": 2.0}


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_what_is_not_finite_ends_the_job_before_anything_is_saved(loss, norm):
    meter = Meter(Runtime(), ["a"])
    meter.start()
    meter.add(torch.tensor([loss]), batch(a=1))
    meter.close(7, torch.tensor(norm), 4)
    with pytest.raises(NonFiniteError, match="step 7"):
        meter.read()


def test_a_signal_stops_all_once_the_step_is_read():
    runtime = Runtime()
    meter = Meter(runtime, ["a"])
    meter.start()
    runtime.stop_requested = True
    meter.add(torch.tensor([1.0]), batch(a=1))
    meter.close(1, torch.tensor(1.0), 4)
    assert not meter.stop
    meter.read()
    assert meter.stop


def test_throughput_counts_seeds_and_edges_of_training():
    meter = Meter(Runtime(), ["a"])
    meter.start()
    meter.add(torch.tensor([1.0]), batch(a=1))
    meter.close(1, torch.tensor(1.0), 8)
    meter.read()
    speed = meter.throughput()
    assert speed["seeds_per_second"] / speed["edges_per_second"] == pytest.approx(8 / 7)
