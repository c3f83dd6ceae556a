"""A step that was is made again, and numbers that are none end or spare what they should."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mtl.graphs.writer import GraphWriter

ROOT = Path(__file__).parents[2]
TINY = ["graph.num_nodes=300", "train.epochs=1", "track.every_steps=1"]
SMOKE = [str(ROOT / "job" / "configs" / "smoke.yaml"), *TINY, "track.mlflow=null"]
JOB = ["train.precision=fp64", "loader.batch_size=8", "loader.global_batch_size=16"]
RUN = Path("runs", "smoke")
CHECKPOINT, STEP = 4, 9
POISONED = 7


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """The folder of a run of two processes that was stopped in its epoch, and then finished."""
    folder = tmp_path_factory.mktemp("whole")
    job = [*JOB, "checkpoint.keep=9"]
    assert train(folder, *job, nproc=2, stop_at=CHECKPOINT).codes == [75, 75]
    assert train(folder, *job, nproc=2).code == 0
    return folder


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_step_made_again_is_that_of_the_run(nproc, whole, train, tmp_path):
    """To the last bit on as many processes, else but for rounding; nothing of the run changes."""
    before, out = contents(whole / RUN), tmp_path / "out"
    job = [*JOB, "checkpoint.keep=9", f"replay={STEP}", f"replay_out={out}"]
    ending = train(whole, *job, nproc=nproc)
    assert ending.code == 0, ending.stderr
    assert contents(whole / RUN) == before
    card, recorded = json.loads((out / "batch.json").read_text()), metrics(whole)[STEP]
    found = {f"train/{name}/loss": task["loss"] for name, task in card["tasks"].items()}
    found["train/grad_norm"] = card["gradient_norm"]
    assert card["checkpoint"] == CHECKPOINT
    assert found == (recorded if nproc == 2 else pytest.approx(recorded, rel=1e-9))
    assert ("to the last bit" in ending.stdout) == (found == recorded)
    assert norm_of_the_mean(out) == pytest.approx(recorded["train/grad_norm"], rel=1e-9)


def test_a_step_that_never_comes_is_refused_and_nothing_is_left(whole, train):
    ending = train(whole, *JOB, "checkpoint.keep=9", "replay=12")
    assert ending.code == 64
    assert "replay: expected a step from 1 to 11 (1 epochs of 11), found 12" in ending.stderr
    assert not (whole / "replay_12").exists()


MARKET = ["graph.num_users=300", "graph.num_items=100", "graph.num_shops=20", "model.dim=16"]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("quickstart", ["graph.num_nodes=400", "balancing.type=gradnorm"]),
        ("marketplace", [*MARKET, "balancing.type=famo"]),
        ("marketplace", [*MARKET, "balancing={type: mgda, at: parameters, accumulate: recompute}"]),
        ("marketplace_temporal", [*MARKET, "train.on_nonfinite=skip_task"]),
    ],
)
def test_every_step_of_every_kind_of_job_is_made_again_to_the_last_bit(
    name, overrides, start, tmp_path
):
    """Steps before and after the checkpoint of the first epoch, on two processes."""
    config = str(ROOT / "job" / "configs" / f"{name}.yaml")
    own = ["train.epochs=2", "track.every_steps=1", "track.mlflow=null", "track.report=false"]
    own += ["loader.batch_size=64", "loader.global_batch_size=256", f"run.dir={RUN}"]
    job = [config, *own, *overrides]
    assert start(tmp_path, *job, nproc=2).end().codes == [0, 0]
    last = max(metrics(tmp_path))
    for step in (1, last // 2, last // 2 + 1, last):
        ending = start(tmp_path, *job, f"replay={step}", nproc=2).end()
        assert ending.codes == [0, 0], ending.stderr
        assert "those of the run, to the last bit" in ending.stdout


def norm_of_the_mean(out):
    """Return the length of the mean over tasks of their gradients: `equal` descends along it."""
    parts = {}
    for key, gradient in load_file(out / "tensors.safetensors").items():
        if key.startswith("gradient/"):
            _, _, weight = key.split("/", 2)
            parts[weight] = parts.get(weight, 0) + gradient / 2
    return float(torch.cat([gradient.flatten() for gradient in parts.values()]).norm())


def test_a_run_that_goes_on_is_looked_at_without_its_lock(start, train, wait_for_step, tmp_path):
    long = [*JOB, "train.epochs=100000"]
    job = start(tmp_path, *SMOKE, "track.report=false", *long)
    wait_for_step(tmp_path / RUN, 3)
    ending = train(tmp_path, *long, "replay=3")
    job.kill(0)
    assert (ending.code, job.end().code) == (0, 75), ending.stderr
    assert "to the last bit" in ending.stdout
    assert json.loads((tmp_path / "replay_3" / "batch.json").read_text())["checkpoint"] is None


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """A job whose node c7, of one task alone, has a feature that makes the squared error infinite.

    Its neighbours are none, so it stands in one microbatch of an epoch.
    """
    folder, nodes = tmp_path_factory.mktemp("poisoned") / "graph", 48
    rng, others = np.random.default_rng(0), np.delete(np.arange(nodes), POISONED)
    writer = GraphWriter(folder, name="poisoned")
    features = rng.standard_normal((nodes, 8)).astype(np.float32)
    features[POISONED] = 1e25
    writer.add_nodes("node", nodes, features, ids=[f"c{i}" for i in range(nodes)])
    segment = rng.integers(2, size=nodes)
    segment[POISONED] = -1
    writer.add_label("node", "segment", "class", segment, num_classes=2)
    writer.add_label("node", "value", "regression", rng.standard_normal(nodes))
    split = np.ones(nodes, int)
    split[-8:-4], split[-4:] = 2, 3
    writer.add_split("node", "fixed", split)
    writer.add_edges(("node", "to", "node"), others, np.roll(others, 1))
    writer.finish()
    graph = f"graph={{type: folder, path: {folder}}}"
    return [graph, "train.precision=fp32", "loader.batch_size=5", "loader.global_batch_size=10"]


def test_the_seed_of_an_infinite_loss_is_named_and_its_step_made_again(poisoned, train, tmp_path):
    ending = train(tmp_path, *poisoned, nproc=2)
    assert ending.codes == [76, 76]
    record = json.loads((tmp_path / RUN / "nonfinite.json").read_text())
    (microbatch,) = record["microbatches"]
    assert (record["what"], record["tasks"]) == ("loss", ["value"])
    assert f"c{POISONED}" in microbatch["seeds"]["node"]["id"]
    assert microbatch["losses"]["value"] == "inf"
    assert microbatch["process"] == microbatch["number"] % 2
    cause = json.loads((tmp_path / RUN / "exit.json").read_text())["cause"]
    assert f"the loss of value is not finite, in microbatch {microbatch['number']} of" in cause
    assert record["replay"] in cause
    assert not list((tmp_path / RUN).glob("checkpoints/step_*"))

    argv = shlex.split(record["replay"].partition("job/train.py ")[2])
    again = train(tmp_path, *poisoned, argv[-1])
    assert again.code == 0, again.stderr
    assert f"loss of value is inf, that of id c{POISONED}\n" in again.stdout
    assert "first output that is not finite: none of a module" in again.stdout


@pytest.mark.parametrize("policy", ["skip_step", "skip_task"])
def test_a_task_that_fails_on_one_process_is_left_out_by_all(policy, poisoned, train, tmp_path):
    ending = train(tmp_path, *poisoned, f"train.on_nonfinite={policy}", nproc=2)
    assert ending.codes == [0, 0], ending.stderr
    (weights,) = (tmp_path / RUN).glob("checkpoints/step_*/model.safetensors")
    assert all(x.isfinite().all() for x in load_file(weights).values())
    records = {k: v for record in metrics(tmp_path).values() for k, v in record.items()}
    assert "train/value/not_finite_at_step" in records
    assert "train/segment/not_finite_at_step" not in records
    assert records.get("train/skipped_steps", 0) == (policy == "skip_step")


def metrics(folder):
    """Return what was recorded of the training, by step."""
    found = {}
    for line in (folder / RUN / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        kept = {name: x for name, x in record.items() if name.startswith("train/")}
        found.setdefault(record["step"], {}).update(kept)
    return found


def contents(folder):
    """Return name, time and bytes of all that a folder holds."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
