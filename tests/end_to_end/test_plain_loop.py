"""The job trains as twenty plain lines of PyTorch do: the same weights after the same steps."""

import math

import pytest
import torch
from safetensors.torch import load_file

from job.config import CONFIGS, load
from job.step import microbatch_seed
from mtl.graphs.cache import open_graph
from mtl.loaders.stream import build_stream
from mtl.models.multitask import build_model
from mtl.tasks.bound import bind_tasks

JOB = [
    *("graph.num_nodes=300", "train.epochs=2", "train.precision=fp64", "graph.missing=0.6"),
    *("loader.num_neighbors=[3,2]", "loader.batch_size=8", "loader.global_batch_size=20"),
    *("tasks.churn={type: node_classification, label: churn, split: few}", "tasks.value.weight=3"),
    *("model.dim=8", "model.input_dropout=0.2", "model.encoder.dropout=0.3"),
    *("optim.warmup_steps=4", "optim.schedule=cosine", "optim.clip_norm=0.05"),
    "optim.weight_decay=0.1",
]


@pytest.fixture(scope="module")
def plain():
    """The weights that a plain loop comes to."""
    config = load([str(CONFIGS / "smoke.yaml"), *JOB])
    store = open_graph(config.graph)
    tasks = bind_tasks(config.tasks, store)
    stream, seed = build_stream(config.loader, store, tasks, seed=config.run.seed), config.run.seed
    torch.manual_seed(seed)
    model = build_model(config.model, store, tasks).double()
    trained = [p for p in model.parameters() if p.requires_grad]
    optim, num_steps = config.optim, config.train.epochs * stream.order.steps_per_epoch
    optimizer = torch.optim.AdamW(trained, weight_decay=optim.weight_decay)
    lacking = set()
    for step, batches in stream.steps(0, num_steps):
        rise, fall = (step + 1) / 4, (1 + math.cos(math.pi * (step - 4) / (num_steps - 4))) / 2
        optimizer.param_groups[0]["lr"] = optim.lr * (rise if step < 4 else fall)
        seeds = [part["node"] for part in stream.order.step(step)]
        counts = {n: sum(t.count(s[t.rows(s, "train")]) for s in seeds) for n, t in tasks.items()}
        lacking |= {name for name, count in counts.items() if not count}
        for batch in batches:
            torch.manual_seed(microbatch_seed(seed, batch.number))
            outputs, loss = model(batch), 0.0
            for name, task in tasks.items():
                part = task.loss_sum(outputs[name], batch.target[name]) / max(counts[name], 1)
                loss += task.task.weight * part / len(tasks)
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, optim.clip_norm)
        assert norm > optim.clip_norm
        optimizer.step()
        optimizer.zero_grad()
    assert lacking == {"churn"}  # in some steps
    return model.state_dict()


def newest(folder):
    return max((folder / "runs" / "smoke" / "checkpoints").iterdir())


def assert_same(folder, plain):
    found = load_file(newest(folder) / "model.safetensors")
    torch.testing.assert_close(found, dict(plain), rtol=1e-9, atol=1e-12)


def test_one_process_trains_as_a_plain_loop_does(train, plain, tmp_path):
    ending = train(tmp_path, *JOB)
    assert ending.code == 0, ending.stderr
    assert_same(tmp_path, plain)


def test_two_processes_do(train, plain, tmp_path):
    ending = train(tmp_path, *JOB, nproc=2)
    assert ending.code == 0, ending.stderr
    assert_same(tmp_path, plain)


def test_a_run_in_two_parts_does(train, plain, tmp_path):
    assert train(tmp_path, *JOB, stop_at=6).code == 75
    assert newest(tmp_path).name == "step_00000006"
    ending = train(tmp_path, *JOB)
    assert ending.code == 0, ending.stderr
    assert_same(tmp_path, plain)
