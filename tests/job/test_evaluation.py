"""An evaluation counts every example once, and its metrics hold for labels of any size."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from job.config import CONFIGS, load
from job.evaluation import Evaluation
from job.scores import TaskScore
from mtl.graphs.cache import open_graph
from mtl.graphs.store import GraphStore
from mtl.graphs.synthetic import Synthetic
from mtl.graphs.writer import GraphWriter
from mtl.tasks import Task
from mtl.tasks.bound import bind_tasks


def test_every_seed_of_the_training_split_is_evaluated_once():
    options = ["graph.num_nodes=300", "evaluate.batch_size=16", "loader.rates={node: 0.5}"]
    config = load([str(CONFIGS / "smoke.yaml"), *options])
    store = open_graph(Synthetic(num_nodes=300))
    tasks = bind_tasks(config.tasks, store)
    runtime = SimpleNamespace(
        threads=SimpleNamespace(loader=1), feature_dtype=None, device=torch.device("cpu")
    )
    (stream,) = Evaluation(config, store, tasks, runtime)._streams("train")
    chunks = [stream.order.microbatch(i)["node"] for i in range(stream.order.steps_per_epoch)]
    wanted = np.unique(np.concatenate([task.seeds("train") for task in tasks.values()]))
    assert np.sort(np.concatenate(chunks)).tolist() == wanted.tolist()


def test_r2_is_right_for_labels_far_from_zero(tmp_path):
    rng = np.random.default_rng(0)
    value = 1e5 + rng.standard_normal(300).astype(np.float32)
    writer = GraphWriter(tmp_path / "graph", name="far")
    writer.add_nodes("node", 300, rng.standard_normal((300, 2), np.float32))
    writer.add_label("node", "value", "regression", value)
    writer.add_split("node", "random", np.repeat([1, 2, 3], 100))
    writer.add_edges(("node", "to", "node"), *rng.integers(300, size=(2, 600)))
    writer.finish()
    task = Task.read({"type": "node_regression", "label": "value"})
    bound = task.bind("value", GraphStore(tmp_path / "graph"))
    score, seeds = TaskScore(bound), bound.seeds("test")
    noise = torch.from_numpy(rng.standard_normal(len(seeds)))
    true = bound.targets(seeds).double()
    score.update((true + 0.1 * noise).view(-1, 1), seeds)
    wanted = 1 - float((0.1 * noise).square().sum() / (true - true.mean()).square().sum())
    assert score.compute()["r2"] == pytest.approx(wanted, abs=1e-4)


def test_the_loss_of_an_evaluation_is_the_mean_over_all_labels():
    store = open_graph(Synthetic(num_nodes=300))
    bound = Task.read({"type": "node_classification", "label": "segment"}).bind("it", store)
    score, seeds = TaskScore(bound), bound.seeds("test")
    outputs = torch.randn(len(seeds), bound.num_outputs, generator=torch.manual_seed(0)).double()
    for part in (slice(0, 50), slice(50, None)):
        score.update(outputs[part], seeds[part])
    wanted = torch.nn.functional.cross_entropy(outputs, bound.targets(seeds)).item()
    assert score.compute()["loss"] == pytest.approx(wanted, rel=1e-12)
