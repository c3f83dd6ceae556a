"""What a step tells about itself."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from job.clock import PARTS, Clock, CpuTimer
from job.meter import Meter
from job.runtime import NonFiniteError
from mtl.collective import Alone


class Runtime(Alone):
    """One process on the CPU; `stop_requested` is what a signal sets."""

    device = torch.device("cpu")
    precision = "fp32"
    stop_requested = False

    def __init__(self):
        self.clock = Clock(CpuTimer())


class Hands(CpuTimer):
    """Time that tests turn."""

    now = 0.0

    def mark(self):
        return self.now


class Two(Runtime):
    """One of two processes, each a thread of this test, with hands of its own."""

    world_size = 2

    def __init__(self, rank, barrier, table):
        self.rank, self.hands = rank, Hands()
        self.clock = Clock(self.hands)
        self._barrier, self._table = barrier, table

    def sum(self, tensor):
        self._table[self.rank] = tensor.clone()
        self._barrier.wait(60)
        total = self._table[0] + self._table[1]
        self._barrier.wait(60)
        return total


def batch(**num_targets):
    edges = torch.zeros(2, 7, dtype=torch.long)
    return Data(number=0, edge_index=edges, num_targets=num_targets)


def losses_of(metrics):
    return {name: value for name, value in metrics.items() if name.startswith("train/")}


def test_a_task_without_a_label_in_the_step_has_no_loss():
    meter = Meter(Runtime(), ["a", "b"])
    meter.add(torch.tensor([0.5, 0.0]), batch(a=2, b=0))
    meter.add(torch.tensor([0.25, 0.0]), batch(a=2, b=0))
    meter.close(1, torch.tensor(2.0), 4)
    assert losses_of(meter.record()) == {"train/a/loss": 0.75, "train/grad_norm": 2.0}


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)])
def test_what_is_not_finite_ends_the_job_before_anything_is_saved(loss, norm):
    meter = Meter(Runtime(), ["a"])
    meter.add(torch.tensor([loss]), batch(a=1))
    meter.close(7, torch.tensor(norm), 4)
    with pytest.raises(NonFiniteError, match="step 7"):
        meter.read()


def test_a_signal_stops_all_once_the_step_is_read():
    runtime = Runtime()
    meter = Meter(runtime, ["a"])
    runtime.stop_requested = True
    meter.add(torch.tensor([1.0]), batch(a=1))
    meter.close(1, torch.tensor(1.0), 4)
    assert not meter.stop
    meter.read()
    assert meter.stop


def test_throughput_counts_seeds_and_edges_of_training():
    meter = Meter(Runtime(), ["a"])
    meter.add(torch.tensor([1.0]), batch(a=1))
    meter.close(1, torch.tensor(1.0), 8)
    meter.read()
    speed = meter.summary()["throughput"]
    assert speed["seeds_per_second"] / speed["edges_per_second"] == pytest.approx(8 / 7)


def test_edges_of_all_types_count():
    meter = Meter(Runtime(), ["a"])
    graph = HeteroData()
    graph.number, graph.num_targets = 0, {"a": 1}
    for relation, number in (("buys", 3), ("likes", 4)):
        graph["user", relation, "item"].edge_index = torch.zeros(2, number, dtype=torch.long)
    meter.add(torch.tensor([1.0]), graph)
    meter.close(1, torch.tensor(1.0), 7)
    meter.read()
    speed = meter.summary()["throughput"]
    assert speed["seeds_per_second"] == speed["edges_per_second"]


def steps(meter, clock, hands, scripts):
    """Take steps whose parts last as long as the scripts say."""
    for number, script in enumerate(scripts, 1):
        for part, seconds in script.items():
            with clock(part):
                hands.now += seconds
        meter.add(torch.tensor([1.0]), batch(a=1))
        meter.close(number, torch.tensor(1.0), 1)


def times(metrics):
    found = {p: metrics[f"time/{p}"] for p in PARTS}
    return {part: seconds for part, seconds in found.items() if seconds}


def timed():
    runtime, runtime.clock = Runtime(), Clock(hands := Hands())
    return Meter(runtime, ["a"]), runtime.clock, hands


def test_time_is_recorded_a_step_and_since_the_last_record():
    meter, clock, hands = timed()
    steps(meter, clock, hands, [{"forward": 1.0}, {"forward": 3.0, "data": 1.0}])
    assert times(meter.record()) == {"forward": 2.0, "data": 0.5}
    hands.now += 6.0
    steps(meter, clock, hands, [{"backward": 3.0}, {}, {}])
    assert times(meter.record()) == {"backward": 1.0, "other": 2.0}


def test_reading_between_two_records_loses_no_time():
    meter, clock, hands = timed()
    steps(meter, clock, hands, [{"forward": 1.0}])
    meter.read()
    steps(meter, clock, hands, [{"forward": 3.0}])
    assert times(meter.record()) == {"forward": 2.0}


def test_the_end_counts_what_came_after_the_last_step():
    meter, clock, hands = timed()
    steps(meter, clock, hands, [{"forward": 1.0}])
    meter.record()
    steps(meter, clock, hands, [{"forward": 1.0}, {"forward": 1.0}])
    meter.read()
    with clock("evaluation"):
        hands.now += 4.0
    assert times(meter.end()) == {"forward": 1.0, "evaluation": 2.0}
    summary = meter.summary()
    assert (summary["seconds"], summary["time"]["evaluation"]) == (7.0, 4 / 3)
    assert summary["throughput"]["seeds_per_second"] == 1.0  # evaluation is no training


def test_the_end_records_nothing_twice():
    meter, clock, hands = timed()
    steps(meter, clock, hands, [{"forward": 1.0}])
    meter.record()
    hands.now += 1.0
    assert meter.end() == {}
    assert meter.summary()["seconds"] == 2.0


def test_the_time_is_the_mean_over_processes_and_the_memory_the_most(monkeypatch):
    barrier, table = Barrier(2), [None, None]
    pair = [Two(rank, barrier, table) for rank in (0, 1)]
    needed = {}
    monkeypatch.setattr("job.meter.peak_memory", lambda device: needed[get_ident()])

    def run(runtime):
        needed[get_ident()] = 500 * (1 + runtime.rank)
        meter = Meter(runtime, ["a"])
        script = {"forward": 1.0 + runtime.rank, "data": 2.0 * runtime.rank}
        steps(meter, runtime.clock, runtime.hands, [script, {"copy": 2.0}])
        record = meter.record()
        return {**times(record), "peak": record["memory/peak_bytes"]}

    with ThreadPoolExecutor(2) as pool:
        assert (
            list(pool.map(run, pair))
            == [{"forward": 0.75, "data": 0.5, "copy": 1.0, "peak": 1000}] * 2
        )


def test_a_signal_to_one_process_stops_all_in_the_same_step():
    barrier, table = Barrier(2), [None, None]
    pair = [Two(rank, barrier, table) for rank in (0, 1)]
    pair[1].stop_requested = True

    def run(runtime):
        meter = Meter(runtime, ["a"])
        steps(meter, runtime.clock, runtime.hands, [{}])
        meter.read()
        return meter.stop

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, pair)) == [True, True]
