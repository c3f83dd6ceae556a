"""All neighbours, layer by layer: what a whole graph in one batch gives, in bounded memory."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from job.clock import Clock, CpuTimer
from job.config import CONFIGS, JobConfig, load, read
from job.evaluation import Evaluation, stream_maker
from job.layerwise import Layers, ReadModel, own_graph
from job.scratch import Scratch
from mtl.collective import Alone
from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.loaders import message_types
from mtl.models.encoders import Encoder
from mtl.models.multitask import MultiTaskModel, build_model
from mtl.models.sharing import Sharing
from mtl.tasks.bound import bind_tasks

EXACT = {"rtol": 1e-9, "atol": 1e-10}
CUSTOMERS = {"type": "synthetic", "num_nodes": 300, "num_features": 8}
SHOPS = {"type": "marketplace", "num_users": 120, "num_items": 50, "num_shops": 8}
CUSTOMER_TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "churn": {"type": "node_classification", "label": "churn", "split": "few"},
    "value": {"type": "node_regression", "label": "value"},
}
SOME = {"value": CUSTOMER_TASKS["value"]}
CHURN = {"type": "node_classification", "node_type": "user", "label": "churn"}
SHOP_TASKS = {
    "churn": CHURN,
    "interests": {"type": "node_multilabel", "node_type": "user", "label": "interests"},
    "buys": {"type": "link_prediction", "edge_type": "user__buys__item"},
}
EDGE_TASKS = ("edge_classification", "edge_regression", "edge_multilabel")
WITHOUT_GRAPH = ["mlp"]
ENCODERS = [kind for kind in Encoder.types() if kind not in WITHOUT_GRAPH]


class Runtime(Alone):
    """One process on the CPU, in double precision."""

    device, dtype, feature_dtype = torch.device("cpu"), torch.float64, None
    local_rank, local_world_size, is_main = 0, 1, True
    threads = SimpleNamespace(loader=1)
    stop_requested = False

    def __init__(self):
        self.clock = Clock(CpuTimer())

    def sum_int(self, number):
        return number

    def check_stop(self, doing):
        assert not self.stop_requested, doing

    def on_each_machine(self, action):
        action()

    def unwrap(self, model):
        return model

    def autocast(self):
        return nullcontext()

    def beat(self):
        pass


def config_of(
    graph, tasks, *, encoder="sage", sharing="hard", num_layers=2, **evaluate
) -> JobConfig:
    tree = {
        "run": {"name": "all"},
        "graph": graph,
        "tasks": tasks,
        "model": {
            "dim": 8,
            "encoder": {"type": encoder, "num_layers": num_layers, "norm": "layer"},
            "sharing": {"type": sharing},
        },
        "loader": {"num_neighbors": [3] * num_layers},
        "train": {"epochs": 1},
        "evaluate": {"batch_size": 37, "num_neighbors": "all", **evaluate},
    }
    return read(tree, [])


class Opened:
    """A graph, its tasks, an untrained model, and both ways to evaluate it."""

    def __init__(self, config: JobConfig, dtype=torch.float64, without=()) -> None:
        self.config, self.runtime = config, Runtime()
        self.runtime.dtype = dtype
        self.store = open_graph(config.graph)
        tasks = {name: task for name, task in config.tasks.items() if task.type not in without}
        self.tasks = bind_tasks(tasks, self.store)
        torch.manual_seed(0)
        edge_types = message_types(config.loader.num_neighbors, self.store.edge_types)
        model = build_model(config.model, self.store, self.tasks, edge_types)
        self.model: MultiTaskModel = model.to(dtype).eval()
        make = stream_maker(config, self.runtime, config.evaluate.batch_size)
        self.layers = Layers(config, self.store, self.tasks, make, self.runtime)
        self.make = partial(make, self.store, self.tasks)

    def outputs(self, split="test") -> dict[str, torch.Tensor]:
        """Return what the heads say of all seeds, out of the tables of the layers."""
        stream = self.layers.seeds(self.make, split=split)
        model = self.layers.reader(self.model, [stream])(stream)
        return self._all(model, stream)

    @torch.no_grad()
    def expected(self, split="test") -> dict[str, torch.Tensor]:
        """Return the same out of trees of all neighbours, cut like the seeds."""
        return self._all(self.model, self.make(split=split))

    def _all(self, model, stream):
        with torch.no_grad():
            found = [model(stream.loader([i])) for i in range(stream.order.steps_per_epoch)]
        return {name: torch.cat([part[name] for part in found]) for name in self.tasks}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, **EXACT)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_layers_of_every_encoder_give_what_trees_of_all_neighbours_give(encoder):
    job = Opened(config_of(CUSTOMERS, CUSTOMER_TASKS, encoder=encoder))
    assert_same(job.outputs(), job.expected())


@pytest.mark.parametrize("sharing", Sharing.types())
def test_so_do_those_of_every_way_of_sharing(sharing):
    job = Opened(config_of(CUSTOMERS, CUSTOMER_TASKS, sharing=sharing))
    assert_same(job.outputs(), job.expected())


@pytest.mark.parametrize(
    ("encoder", "sharing"),
    [
        *(("rgcn", sharing) for sharing in ("mtan", "mimo", "cross_stitch")),
        *(("hgt", sharing) for sharing in ("ple", "separate")),
    ],
)
def test_so_do_graphs_of_many_types_with_links_that_validation_and_test_hide(encoder, sharing):
    job = Opened(config_of(SHOPS, SHOP_TASKS, encoder=encoder, sharing=sharing))
    assert own_graph(job.make(split="val", num_hops=0)) is None
    assert_same(job.outputs("val"), job.expected("val"))


@pytest.mark.parametrize("graph", [(CUSTOMERS, CUSTOMER_TASKS), (SHOPS, SHOP_TASKS)])
def test_all_neighbours_on_the_device_give_the_same_to_the_last_bit(graph):
    config = config_of(*graph)
    numba, device = (
        Opened(replace(config, loader=replace(config.loader, backend=backend))).outputs("val")
        for backend in ("numba", "cuda")
    )
    assert numba.keys() == device.keys()
    assert all(torch.equal(numba[name], device[name]) for name in numba)


@settings(max_examples=6, deadline=None)
@given(batch_size=st.integers(20, 400), num_layers=st.integers(1, 3))
def test_chunks_change_nothing(batch_size, num_layers):
    config = config_of(CUSTOMERS, SOME, batch_size=batch_size, num_layers=num_layers)
    job = Opened(config)
    assert_same(job.outputs(), job.expected())


def test_an_evaluation_of_several_splits_has_the_results_of_trees():
    results = [
        (job := Opened(config_of(SHOPS, SHOP_TASKS, num_neighbors=neighbors)))
        and Evaluation(job.config, job.store, job.tasks, job.runtime).summary(
            job.model, ("val", "test")
        )["metrics"]
        for neighbors in ("all", [-1, -1])
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-9)


def test_edges_that_are_scored_in_training_are_hidden_around_each_chunk():
    job = Opened(config_of(SHOPS, SHOP_TASKS))
    stream = job.layers.seeds(job.make, split="train")
    assert "buys hides the edges" in own_graph(stream)
    assert stream.loader.node_sampler.num_hops == 2
    assert job.layers.reader(job.model, [stream])(stream) is job.model


def test_features_that_are_masked_are_masked_around_each_chunk():
    masking = {"type": "feature_reconstruction", "node_type": "user"}
    job = Opened(config_of(SHOPS, {"churn": CHURN, "features": masking}))
    reasons = {n: own_graph(job.make(split="val", only=[n], num_hops=0)) for n in job.tasks}
    assert reasons["churn"] is None
    assert "masks" in reasons["features"]


def test_the_last_layer_is_computed_for_seeds_alone():
    job = Opened(config_of(CUSTOMERS, {"churn": CUSTOMER_TASKS["churn"]}))
    stream = job.layers.seeds(job.make, split="val")
    model = job.layers.reader(job.model, [stream])(stream)
    assert isinstance(model, ReadModel)
    (table,) = model._tables.values()
    assert table.nodes.tolist() == job.tasks["churn"].seeds("val").tolist()
    assert len(table.values) == len(table.nodes) < 300


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    folder = tmp_path / "scratch"
    job = Opened(config_of(CUSTOMERS, CUSTOMER_TASKS, scratch=str(folder)))
    job.outputs()
    assert list(folder.iterdir()) == []


def test_what_does_not_fit_on_the_disk_is_refused_with_both_sizes(tmp_path):
    scratch = Scratch(tmp_path, Runtime())
    with pytest.raises(ConfigError, match=r"has [\d,.]+ GiB free.*takes 8,388,608.00 GiB"):
        scratch.table(1 << 40, 1 << 10, torch.float64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_table_keeps_what_is_written(dtype, tmp_path):
    table = Scratch(tmp_path, Runtime()).table(50, 3, dtype)
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 3))).to(dtype)
    table[:] = values
    assert torch.equal(table, values)
    assert list(tmp_path.iterdir()) == []


def test_another_word_than_all_is_refused():
    with pytest.raises(ConfigError, match=r"evaluate.num_neighbors: .*must be all, a list"):
        config_of(CUSTOMERS, CUSTOMER_TASKS, num_neighbors="every")


REAL = {"cora_topic": ".", "photo": ".", "oewn": "oewn"}
ON_REAL = [(g, e) for g in REAL for e in ENCODERS if g != "oewn" or e != "gcn"]


@pytest.mark.parametrize(
    ("name", "encoder"),
    [pytest.param(*p, marks=[pytest.mark.soak] * (p != ("cora_topic", "gcn"))) for p in ON_REAL],
)
def test_layers_of_real_graphs_give_what_the_whole_graph_gives_in_one_batch(
    name, encoder, shared_data
):
    root = f"graph.root={shared_data / REAL[name]}"
    model = f"model.encoder={{type: {encoder}, num_layers: 2}}"
    options = [str(CONFIGS / f"{name}.yaml"), root, model, "model.dim=32"]
    one = Opened(load([*options, "evaluate.num_neighbors=all"]), torch.float32, EDGE_TASKS)
    all_at_once = ["evaluate.num_neighbors=[-1,-1]", "evaluate.batch_size=10000000"]
    whole = Opened(load([*options, *all_at_once]), torch.float32, EDGE_TASKS)
    found, expected = one.outputs(), whole.expected()
    for task, values in expected.items():
        torch.testing.assert_close(found[task], values, rtol=1e-5, atol=1e-5)
