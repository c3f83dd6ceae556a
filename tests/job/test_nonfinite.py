"""Which data a broken step is blamed on, and that all processes blame the same."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch
from torch_geometric.data import Data

from job.blame import MAX_SEEDS, blamed, plain
from job.clock import Clock, CpuTimer
from job.config import read
from job.meter import Meter
from job.nonfinite import BrokenStepError, Recent
from job.runtime import NonFiniteError
from mtl.collective import Alone
from mtl.graphs.cache import open_graph
from mtl.loaders.microbatch import EMPTY
from mtl.loaders.stream import build_stream
from mtl.tasks.bound import bind_tasks

INF = float("inf")
TREE = {
    "run": {"name": "broken"},
    "graph": {"type": "synthetic", "num_nodes": 8000, "avg_degree": 1, "missing": 0.0},
    "tasks": {
        "value": {"type": "node_regression", "label": "value"},
        "churn": {"type": "node_classification", "label": "churn"},
    },
    "model": {"encoder": {"type": "sage", "num_layers": 1}, "sharing": {"type": "hard"}},
    "loader": {"num_neighbors": [1], "batch_size": 1500, "global_batch_size": 3000},
    "train": {"epochs": 3},
}


class Runtime(Alone):
    """One process on the CPU."""

    device, precision, is_main = torch.device("cpu"), "fp32", True
    stop_requested = False

    def __init__(self):
        self.clock = Clock(CpuTimer())

    def on_main(self, action):
        action()


class Two(Runtime):
    """One of two processes, each a thread of this test."""

    world_size = 2

    def __init__(self, rank, barrier, table):
        super().__init__()
        self.rank, self._barrier, self._table = rank, barrier, table

    def sum(self, tensor):
        return sum(self.gather(tensor, [len(tensor)] * 2))

    def gather(self, tensor, sizes):
        self._table[self.rank] = tensor.clone()
        self._barrier.wait(60)
        found = list(self._table)
        self._barrier.wait(60)
        return found


def both(run):
    """Run something on two processes at once; return what both say."""
    barrier, table = Barrier(2), [None, None]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda rank: run(Two(rank, barrier, table)), (0, 1)))


def test_all_processes_learn_whose_microbatch_had_which_losses():
    def run(runtime):
        recent = Recent()
        for step in range(3):
            recent.begin(step)
            recent.add(3 * step + runtime.rank, torch.tensor([1.0, step]))
            number = EMPTY if runtime.rank else 3 * step + 2
            recent.add(number, torch.tensor([INF, 0.5]))
        return recent.of(1, runtime)

    expected = [(3, 0, [1.0, 1.0]), (4, 1, [1.0, 1.0]), (5, 0, [INF, 0.5])]
    assert both(run) == [expected, expected]


def test_a_process_without_a_microbatch_finds_what_the_others_find():
    def run(runtime):
        meter = Meter(runtime, ["a"])
        batch = Data(number=EMPTY if runtime.rank else 0, num_targets={"a": 1 - runtime.rank})
        batch.edge_index = torch.zeros(2, 1, dtype=torch.long)
        meter.add(torch.tensor([0.0 if runtime.rank else INF]), batch)
        meter.close(1, torch.tensor(1.0), 1)
        with pytest.raises(BrokenStepError, match="step 1: the loss of a is not finite"):
            meter.read()
        return True

    assert both(run) == [True, True]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Configuration, graph and stream of a job: steps of two large microbatches."""
    tree = {**TREE, "graph": {**TREE["graph"], "cache": str(tmp_path_factory.mktemp("cache"))}}
    config = read(tree, [])
    store = open_graph(config.graph)
    return config, store, build_stream(config.loader, store, bind_tasks(config.tasks, store))


@pytest.fixture
def blame(parts, tmp_path):
    """Raise the error of a step of two microbatches with some losses; return record and words."""
    config, store, stream = parts
    config = replace(config, run=replace(config.run, dir=tmp_path / "run"))
    config.run.dir.mkdir()

    def blame(error, first, second=(1.0, 1.0), meter=None):
        recent, runtime = Recent(), Runtime()
        for step in (error.step - 2, error.step - 1):
            recent.begin(step)
            for i, losses in enumerate((first, second)):
                recent.add(2 * step + i, torch.tensor(losses))
        path = config.run.dir / "nonfinite.json"
        with (
            pytest.raises(NonFiniteError) as raised,
            blamed(config, store, stream, recent, meter or Meter(runtime, []), runtime),
        ):
            raise error
        return json.loads(path.read_text()), str(raised.value)

    return blame


def test_a_loss_is_blamed_on_its_microbatch_alone_and_few_of_many_seeds_are_named(blame, parts):
    record, words = blame(BrokenStepError(3, ["value"], "it failed"), (1.0, 1.0), (1.0, INF))
    (found,) = record["microbatches"]
    seeds = parts[2].order.microbatch(5)["node"]
    assert (record["what"], record["epoch"], record["tasks"]) == ("loss", 2, ["value"])
    assert (found["number"], found["losses"]) == (5, {"churn": 1.0, "value": "inf"})
    assert found["seeds"]["node"] == {"count": len(seeds), "row": seeds[:MAX_SEEDS].tolist()}
    assert len(seeds) > MAX_SEEDS
    assert "step 3 (epoch 2): it failed, in microbatch 5 of process 0; " in words
    assert words.endswith("python job/train.py " + record["replay"].split()[-2] + " replay=3")


def test_a_gradient_is_blamed_on_the_whole_step_the_largest_losses_first(blame):
    record, words = blame(BrokenStepError(2, [], "it failed"), (1.0, 1.0), (1.0, 1e20))
    assert (record["what"], record["num_microbatches"]) == ("gradient", 2)
    assert [found["number"] for found in record["microbatches"]] == [3, 2]
    assert "it failed; " in words


def test_the_step_before_is_blamed_where_it_was_broken_and_nobody_knew_yet(blame):
    meter = Meter(Runtime(), ["churn", "value"])
    edges = torch.zeros(2, 1, dtype=torch.long)
    batch = Data(number=0, edge_index=edges, num_targets={"churn": 1, "value": 1})
    meter.add(torch.tensor([1.0, INF]), batch)
    meter.close(2, torch.tensor(1.0), 1)
    later = BrokenStepError(3, ["churn", "value"], "the loss of churn, value is not finite")
    record, words = blame(later, (INF, INF), meter=meter)
    assert (record["step"], record["tasks"]) == (2, ["value"])
    assert words.startswith("step 2 (epoch 1): the loss of value is not finite, in microbatch 2")


def test_a_record_that_cannot_be_written_hides_no_error(parts, tmp_path):
    config, store, stream = parts
    config = replace(config, run=replace(config.run, dir=tmp_path / "gone"))
    recent, runtime = Recent(), Runtime()
    recent.begin(0)
    recent.add(0, torch.tensor([INF, 1.0]))
    with (
        pytest.raises(NonFiniteError, match=r"nonfinite\.json could not be written \("),
        blamed(config, store, stream, recent, Meter(runtime, []), runtime),
    ):
        raise BrokenStepError(1, ["churn"], "it failed")


@pytest.mark.parametrize(("number", "word"), [(INF, "inf"), (-INF, "-inf"), (1.5, 1.5)])
def test_json_has_a_word_for_what_is_no_number(number, word):
    assert plain(number) == word
