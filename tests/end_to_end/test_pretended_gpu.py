"""The job on a GPU that the CPU plays: nothing lies elsewhere, waits, or races, and no number
differs from the CPU's. What only a real one can show is in `tests/job/test_devices.py`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mtl.balancing import Balancing
from mtl.models.encoders import Encoder

ROOT = Path(__file__).parents[2]
PRETENDED = "tests/end_to_end/pretended.py"
QUIET = ["track.mlflow=null", "track.report=false", "track.every_steps=1", "train.precision=fp64"]
SAME = [*QUIET, "train.epochs=1", "model.encoder.dropout=0"]  # random bits differ by device
SMOKE = ["graph.num_nodes=300", "loader.batch_size=32", "loader.global_batch_size=64", *SAME]
MARKET = [
    *("graph.num_users=50", "graph.num_items=60", "graph.num_shops=6", "model.dim=16"),
    *("loader.batch_size=64", "loader.global_batch_size=128", *SAME),
]
UPGRAD = "balancing={type: upgrad}"
CHECKPOINT = {"job/state.py <dictcomp>", "job/state.py read_weights"}
AROUND = {  # the steps: at the start, in evaluation, in a checkpoint, at the end
    *("job/runtime.py sum_int", "job/runtime.py prepare", "job/runtime.py prepare_evaluation"),
    *("job/placement.py _room", "job/placement.py place", "job/mirror.py _bytes"),
    *("mtl/loaders/samplers/_resident.py <genexpr>", "mtl/loaders/residence.py __init__"),
    *("mtl/loaders/samplers/_removed.py of_bits", "mtl/tasks/bound.py <genexpr>"),
    "mtl/loaders/samplers/_tensors.py draws_in_one",
    *("job/evaluation.py evaluate", "job/evaluation.py <listcomp>", "job/meter.py end"),
    *CHECKPOINT,
}
SAMPLER = {  # how much has been found
    "mtl/loaders/samplers/_tensors.py read",
    "mtl/loaders/listed.py listed_by_type",
}
COUNT = "copy to the host"
LOGGED = "job/meter.py read"  # a step late
CONFLICTS = "job/agreement.py shared"  # once in `balancing.conflicts_every` steps


@pytest.fixture(scope="module")
def play(start):
    """Run a command on pretended GPUs; return what was found, process by process."""

    def play(folder, command, *argv, nproc=1):
        job = start(folder, str(ROOT / command), *argv, script=PRETENDED, nproc=nproc)
        ending = job.end()
        assert ending.code == 0, ending.stderr
        assert "many small kernels" not in ending.stderr
        found = [json.loads((folder / f"pretended.{n}.json").read_text()) for n in range(nproc)]
        assert [its["races"] for its in found] == [[]] * nproc
        return found

    return play


def config(name):
    return str(ROOT / "job" / "configs" / f"{name}.yaml")


def numbers(run):
    """Return what a run has logged of losses, metrics, weights and conflicts, by step and name."""
    kinds = ("train", "val", "test", "trivial", "balance", "conflict")
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        (record["step"], name): value
        for record in records
        for name, value in record.items()
        if name.split("/")[0] in kinds and isinstance(value, float)
    }


def assert_same(run, other, tolerance=1e-9):
    found, known = numbers(run), numbers(other)
    assert found.keys() == known.keys()
    assert found == pytest.approx(known, rel=tolerance, abs=tolerance)


def places(found, *, ahead):
    """Return where a process waited: in threads that work ahead, or in the one that trains."""
    return {
        f"{where.split(':')[0]} {where.split()[-1]}": number
        for _, where, thread, number in found["waits"]
        if (thread == "loader") is ahead
    }


@pytest.fixture(scope="module")
def markets(play, start, tmp_path_factory):
    """A folder with a run on each device: nodes, edges and links of several types."""
    folder = tmp_path_factory.mktemp("markets")
    argv = [config("marketplace"), *MARKET]
    (found,) = play(folder, "job/train.py", *argv, "run.dir=gpu")
    ending = start(folder, *argv, "run.dir=cpu", "loader.backend=cuda").end()
    assert ending.code == 0, ending.stderr
    return folder, found


@pytest.fixture(scope="module")
def smoke(start, tmp_path_factory):
    """A run on the CPU with two balanced tasks."""
    folder = tmp_path_factory.mktemp("smoke")
    argv = [*SMOKE, UPGRAD, "loader.backend=cuda", "run.dir=cpu"]
    ending = start(folder, config("smoke"), *argv).end()
    assert ending.code == 0, ending.stderr
    return folder / "cpu"


def test_a_gpu_has_the_numbers_of_the_cpu(markets):
    folder, _ = markets
    assert_same(folder / "gpu", folder / "cpu")


def test_no_step_waits(play, tmp_path):
    argv = [config("smoke"), *SMOKE, "loader.batch_size=4", "loader.global_batch_size=4"]
    (found,) = play(tmp_path, "job/train.py", *argv, "run.dir=gpu")
    assert {what for what, _, thread, _ in found["waits"] if thread == "loader"} == {COUNT}
    waits = places(found, ahead=False)
    steps, conflicts = waits.pop(LOGGED), waits.pop(CONFLICTS)
    assert (steps, conflicts) == (44, 1)
    assert waits.keys() <= AROUND | SAMPLER  # a sample around nothing, at the start
    assert max(waits[place] for place in waits if place not in CHECKPOINT) < steps


def test_what_is_made_ahead_waits_for_counts_alone(markets):
    _, found = markets
    assert places(found, ahead=True).keys() == SAMPLER
    assert {what for what, _, thread, _ in found["waits"] if thread == "loader"} == {COUNT}


@pytest.mark.parametrize(
    "options",
    [
        ["loader.features=pinned", "evaluate.num_neighbors=all"],
        ["loader.features=host"],
        ["loader.backend=numba"],
    ],
    ids=["pinned", "host", "numba"],
)
def test_wherever_the_graph_lies(options, play, smoke, start, tmp_path):
    known = smoke
    if "evaluate.num_neighbors=all" in options or "loader.backend=numba" in options:
        known = tmp_path / "cpu"
        backend = [] if "loader.backend=numba" in options else ["loader.backend=cuda"]
        argv = [*SMOKE, UPGRAD, *options, *backend, f"run.dir={known}"]
        assert start(tmp_path, config("smoke"), *argv).end().code == 0
    argv = [config("smoke"), *SMOKE, UPGRAD, *options, "run.dir=gpu"]
    play(tmp_path, "job/train.py", *argv)
    assert_same(tmp_path / "gpu", known)


@pytest.mark.parametrize("options", [[], ["loader.edges=sharded"]], ids=["whole", "sharded"])
def test_two_gpus_have_the_numbers_of_one(options, play, smoke, tmp_path):
    argv = [config("smoke"), *SMOKE, UPGRAD, *options, "run.dir=gpus"]
    play(tmp_path, "job/train.py", *argv, nproc=2)
    assert_same(tmp_path / "gpus", smoke)


def test_a_run_goes_on_and_answers_on_the_other_device(markets, play, start, tmp_path):
    folder = shutil.copytree(markets[0], tmp_path / "runs")
    longer = [config("marketplace"), *MARKET, "train.epochs=2", "loader.backend=cuda"]
    assert start(folder, *longer, "run.dir=gpu").end().code == 0
    play(folder, "job/train.py", *longer, "run.dir=cpu")
    assert_same(folder / "gpu", folder / "cpu")
    play(folder, "job/evaluate.py", "cpu", "json=gpu.json")
    assert start(folder, "cpu", "json=cpu.json", script="job/evaluate.py").end().code == 0
    gpu, cpu = (json.loads((folder / f"{n}.json").read_text())["metrics"] for n in ("gpu", "cpu"))
    assert gpu == pytest.approx(cpu, rel=1e-9, abs=1e-9)
    wanted = ["embeddings=true", "split=test"]
    play(folder, "job/predict.py", "cpu", "on_gpu", *wanted)
    ending = start(folder, "cpu", "on_cpu", *wanted, script="job/predict.py").end()
    assert ending.code == 0, ending.stderr
    tables = sorted(
        path.relative_to(folder / "on_cpu") for path in folder.glob("on_cpu/**/*.parquet")
    )
    assert len(tables) >= 5
    for table in tables:
        here, there = (pq.read_table(folder / out / table) for out in ("on_cpu", "on_gpu"))
        assert here.num_rows > 0
        assert here.column_names == there.column_names
        for name in here.column_names:
            mine, other = (np.array(its[name].to_pylist()) for its in (here, there))
            if mine.dtype.kind == "f":
                assert other == pytest.approx(mine, rel=1e-6, abs=1e-9, nan_ok=True)
            else:
                assert (mine == other).all()


@pytest.mark.soak
@pytest.mark.parametrize("method", [t for t in Balancing.types() if t not in ("static", "pcd")])
def test_every_balancing(method, play, start, tmp_path):
    argv = [config("smoke"), *SMOKE, f"balancing={{type: {method}}}"]
    play(tmp_path, "job/train.py", *argv, "run.dir=gpu")
    assert start(tmp_path, *argv, "loader.backend=cuda", "run.dir=cpu").end().code == 0
    assert_same(tmp_path / "gpu", tmp_path / "cpu", 1e-3 if method == "nash_mtl" else 1e-9)


@pytest.mark.soak
@pytest.mark.parametrize("encoder", Encoder.types())
def test_every_encoder(encoder, play, start, tmp_path):
    argv = [config("marketplace"), *MARKET, f"model.encoder={{type: {encoder}, dropout: 0}}"]
    play(tmp_path, "job/train.py", *argv, "run.dir=gpu")
    assert start(tmp_path, *argv, "loader.backend=cuda", "run.dir=cpu").end().code == 0
    assert_same(tmp_path / "gpu", tmp_path / "cpu")


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_every_precision(precision, play, tmp_path):
    argv = [config("smoke"), *SMOKE, UPGRAD, f"train.precision={precision}", "run.dir=gpu"]
    play(tmp_path, "job/train.py", *argv)
    assert numbers(tmp_path / "gpu")


MISTAKES = {
    "a tensor of the host": ("gpu + torch.ones(2)", "Expected all tensors"),
    "an index of the host": ("gpu.index_select(0, torch.tensor([0]))", "Expected all tensors"),
    "an index for the host": ("torch.ones(2)[gpu.long()]", "indices should be"),
    "numpy": ("gpu.numpy()", "can't convert"),
    "a GPU of another process": ("torch.ones(2, device='cuda:1')", "of another process"),
    "an exchange of the host's": ("torch.distributed.all_reduce(torch.ones(2))", "No backend"),
}
"""What a real GPU refuses: a line, and a part of the words."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_gpu_refuses_is_refused(mistake, start, tmp_path):
    line, words = MISTAKES[mistake]
    ending = snippet(start, tmp_path, line)
    assert ending.code == 70
    assert words in ending.stderr


RACES = {
    "read before it is written": "with torch.cuda.stream(side): x = gpu + 1\nx + 1",
    "written while it is read": "with torch.cuda.stream(side): gpu + 1\ngpu.add_(1)",
    "given away while it is read": (
        "with torch.cuda.stream(side):\n  x = gpu.repeat(999)\n  e = side.record_event()\n"
        "main.wait_event(e)\nx + 1\nold = x.data_ptr()\ndel x\n"
        "import pretended_streams\n"  # whether malloc gives it again nobody knows
        "pretended_streams.Stream.streams.does(side.number, (), (), {old})"
    ),
    "read by the host before it is there": (
        "host = gpu.to('cpu', non_blocking=True)\nhost.tolist()"
    ),
}
FINE = {
    "an event": "with torch.cuda.stream(side): x = gpu + 1\nmain.wait_stream(side)\nx + 1",
    "the host waits": "with torch.cuda.stream(side):\n  x = gpu + 1\n  x.tolist()\nx + 1",
    "recorded": RACES["given away while it is read"].replace(
        "del x", "x.record_stream(main)\ndel x"
    ),
    "an event of the host's": (
        "host = gpu.to('cpu', non_blocking=True)\ne = main.record_event()\ne.synchronize()\n"
        "host.tolist()"
    ),
}


@pytest.mark.parametrize("race", RACES)
def test_a_race_is_seen(race, start, tmp_path):
    ending = snippet(start, tmp_path, RACES[race])
    assert ending.code == 0, ending.stderr
    assert len(json.loads((tmp_path / "pretended.0.json").read_text())["races"]) == 1


@pytest.mark.parametrize("order", FINE)
def test_what_is_in_order_is_no_race(order, start, tmp_path):
    ending = snippet(start, tmp_path, FINE[order])
    assert ending.code == 0, ending.stderr
    assert json.loads((tmp_path / "pretended.0.json").read_text())["races"] == []


def snippet(start, folder, lines):
    """Run a few lines with `gpu`, two numbers there, the stream of the thread and another one."""
    (folder / "snippet.py").write_text(
        "import torch, torch.distributed\n"
        "gpu, main, side = torch.ones(2).cuda(), torch.cuda.current_stream(), torch.cuda.Stream()\n"
        f"side.wait_stream(main)\n{lines}\n"
    )
    return start(folder, str(folder / "snippet.py"), script=PRETENDED).end()


def test_a_kernel_that_draws_other_edges_is_not_used(start, tmp_path):
    pytest.importorskip("triton")
    ending = snippet(
        start,
        tmp_path,
        "from mtl.loaders.samplers import _fused, _tensors\n"
        "real = _fused.draw\n"
        "assert _tensors.draws_in_one(gpu.device, 3, replace=False)\n"
        "_fused.draw = lambda *a, **k: real(*a, **k) + 1\n"
        "assert not _tensors.draws_in_one(gpu.device, 4, replace=False)",
    )
    assert ending.code == 0, ending.stderr
    assert "many small kernels" in ending.stderr
