"""A job that was stopped, damaged or asked for more goes on as if nothing had happened."""

import gzip
import json
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from job.initial import COMPILERS

ROOT = Path(__file__).parents[2]
STEPS_PER_EPOCH = 44
PLACES = ("representation", "parameters")
JOB = [  # steps of two microbatches, so many that a stop falls in the middle of an epoch
    "train.precision=fp64",
    "loader.batch_size=2",
    "loader.global_batch_size=4",
    "train.epochs=2",
]


@pytest.fixture(scope="module")
def uninterrupted(train, tmp_path_factory):
    """Folders of jobs that ran from start to end, by number of processes."""
    folders = {nproc: tmp_path_factory.mktemp(f"whole{nproc}") for nproc in (1, 2)}
    for nproc, folder in folders.items():
        assert train(folder, *JOB, nproc=nproc).code == 0
    return folders


@pytest.fixture(scope="module")
def stopped(train, tmp_path_factory):
    """Folders of jobs that were stopped, by number of processes; one rank alone got the signal."""
    folders = {nproc: tmp_path_factory.mktemp(f"stopped{nproc}") for nproc in (1, 2)}
    for nproc, folder in folders.items():
        assert train(folder, *JOB, nproc=nproc, stop_at=7).codes == [75] * nproc
    return folders


@pytest.fixture
def copy(tmp_path):
    """Copy a job's folder: what one test does to it no other sees."""
    numbers = count()
    return lambda folder: shutil.copytree(folder, tmp_path / str(next(numbers)))


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_stop_saves_in_the_middle_of_the_epoch_and_says_75(nproc, stopped):
    run_dir = stopped[nproc] / "runs" / "smoke"
    ending = json.loads((run_dir / "exit.json").read_text())
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step_"))
    assert step == 7
    assert (ending["code"], f"step {step}" in ending["cause"]) == (75, True)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("stopped", step)


@pytest.mark.parametrize("nproc", [1, 2])
def test_the_same_command_continues_to_the_last_bit(nproc, stopped, uninterrupted, copy, train):
    folder = copy(stopped[nproc])
    ending = train(folder, *JOB, nproc=nproc)
    assert ending.code == 0, ending.stderr
    assert weights(folder).read_bytes() == weights(uninterrupted[nproc]).read_bytes()
    assert metrics(folder) == metrics(uninterrupted[nproc])


@pytest.mark.parametrize(
    ("method", "nproc", "backend"), [("gradnorm", 2, "numba"), ("famo", 1, "cuda")]
)
def test_what_a_balancing_remembers_goes_on_to_the_last_bit_whoever_draws(
    method, nproc, backend, train, tmp_path
):
    job = [*JOB[:3], f"loader.backend={backend}", "train.epochs=1", f"balancing.type={method}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert train(whole, *job, nproc=nproc).code == 0
    assert train(parts, *job, nproc=nproc, stop_at=7).codes == [75] * nproc
    assert train(parts, *job, nproc=nproc).code == 0
    assert weights(parts).read_bytes() == weights(whole).read_bytes()
    assert metrics(parts) == metrics(whole)
    other = train(parts, *job[:-1], "train.epochs=2", "balancing.type=dwa", nproc=nproc)
    assert other.code == 64
    assert "holds another balancing" in other.stderr


@pytest.mark.parametrize("step", [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH])
def test_a_stop_at_the_end_of_an_epoch_loses_neither_evaluation_nor_results(
    step, uninterrupted, train, tmp_path
):
    assert train(tmp_path, *JOB, stop_at=step).code == 75
    ending = train(tmp_path, *JOB)
    assert ending.code == 0, ending.stderr
    assert "test split" in ending.stdout
    assert weights(tmp_path).read_bytes() == weights(uninterrupted[1]).read_bytes()
    assert metrics(tmp_path) == metrics(uninterrupted[1])
    assert results(tmp_path) == results(uninterrupted[1])


@pytest.mark.parametrize(("nproc", "neighbors"), [(1, "null"), (2, "null"), (2, "all")])
def test_a_stop_while_it_evaluates_saves_and_the_evaluation_comes_again(
    nproc, neighbors, train, tmp_path
):
    job = [*JOB, f"evaluate.num_neighbors={neighbors}"]  # two epochs: it is of the first
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert train(whole, *job, nproc=nproc).code == 0
    assert train(parts, *job, nproc=nproc, stop_at="evaluation").codes == [75] * nproc
    assert '"val/' not in (parts / "runs" / "smoke" / "metrics.jsonl").read_text()
    ending = train(parts, *job, nproc=nproc)
    assert ending.code == 0, ending.stderr
    assert weights(parts).read_bytes() == weights(whole).read_bytes()
    assert metrics(parts) == metrics(whole)
    assert results(parts) == results(whole)


def test_fewer_epochs_than_are_done_end_with_results(stopped, copy, train):
    folder = copy(stopped[1])
    first = train(folder, *JOB, "train.epochs=1", "loader.num_threads=2")
    assert first.code == 0, first.stderr
    assert "test/value/r2" in results(folder)


def test_the_order_of_the_tasks_in_the_file_does_not_matter(stopped, uninterrupted, copy, start):
    folder = copy(stopped[1])
    lines = Path(smoke()[0]).read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("  segment:"))
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    (folder / "swapped.yaml").write_text("".join(lines))
    ending = start(folder, str(folder / "swapped.yaml"), *smoke(*JOB)[1:]).end()
    assert ending.code == 0, ending.stderr
    found, expected = (load_file(weights(f)) for f in (folder, uninterrupted[1]))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.soak
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler in PATH")
@pytest.mark.parametrize(("method", "at"), [("equal", None), *[("upgrad", at) for at in PLACES]])
def test_compiled_layers_compute_the_same_and_go_on_to_the_last_bit(method, at, train, tmp_path):
    job = [*JOB, "model.encoder.dropout=0", "model.input_dropout=0", f"balancing.type={method}"]
    job += ["train.compile=true"] if at is None else ["train.compile=true", f"balancing.at={at}"]
    plain, whole, parts = (tmp_path / name for name in ("plain", "whole", "parts"))
    for folder in (plain, whole, parts):
        folder.mkdir()
    assert train(plain, *job, "train.compile=false", nproc=2).code == 0
    assert train(whole, *job, nproc=2).code == 0
    assert train(parts, *job, nproc=2, stop_at=7).codes == [75] * 2
    assert train(parts, *job, nproc=2).code == 0
    found = [load_file(weights(folder)) for folder in (plain, whole, parts)]
    torch.testing.assert_close(found[2], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-11)


def test_a_training_that_begins_anew_takes_the_new_batch_size(tmp_path, train):
    bad = [*JOB[:2], "optim.algorithm=sgd", "optim.lr=1e30", "loader.global_batch_size=null"]
    assert train(tmp_path, *bad).code == 76
    good = ["loader.global_batch_size=null", "loader.batch_size=32"]
    assert train(tmp_path, *good).code == 0
    text = (tmp_path / "runs" / "smoke" / "config.yaml").read_text()
    assert "global_batch_size: 32" in text


def test_a_run_that_stopped_early_is_finished_until_it_may_be_more_patient(tmp_path, train):
    job = [*JOB[:3], "optim.lr=0.3", "checkpoint.every_epochs=50"]
    assert train(tmp_path, *job, "train.epochs=30", "evaluate.patience=2").code == 0
    steps = json.loads((tmp_path / "runs" / "smoke" / "summary.json").read_text())["step"]
    assert steps < 30 * STEPS_PER_EPOCH
    again = train(tmp_path, *job, "train.epochs=30", "evaluate.patience=2")
    assert (again.code, "is finished" in again.stdout) == (0, True)
    more = train(tmp_path, *job, "train.epochs=30", "evaluate.patience=3")
    assert (more.code, "is finished" in more.stdout) == (0, False)


def test_a_stop_never_saves_numbers_that_are_not_finite(tmp_path, train):
    ending = train(tmp_path, *JOB, "optim.algorithm=sgd", "optim.lr=1e30", stop_at=2)
    assert ending.code == 76
    assert not list((tmp_path / "runs" / "smoke").glob("checkpoints/step_*"))


def test_checkpoints_are_listed_and_verified(uninterrupted, copy, start):
    folder = copy(uninterrupted[1])
    run_dir = str(folder / "runs" / "smoke")
    good = start(folder, run_dir, script="job/checkpoint.py").end()
    assert (good.code, good.stdout.count("whole")) == (0, good.stdout.count("step_"))
    flip_a_byte(weights(folder))
    bad = start(folder, run_dir, script="job/checkpoint.py").end()
    assert (bad.code, bad.stdout.count("DAMAGED: model.safetensors")) == (65, 1)


def test_evaluate_gives_the_numbers_of_the_run_and_refuses_another_graph(
    uninterrupted, copy, start
):
    folder = copy(uninterrupted[1])
    run_dir = str(folder / "runs" / "smoke")
    same = start(folder, run_dir, script="job/evaluate.py", nproc=2).end()
    assert same.code == 0, same.stderr
    assert f"{results(folder)['test/value/r2']:.3f}" in same.stdout
    other = start(folder, run_dir, "graph.seed=5", script="job/evaluate.py").end()
    assert (other.code, "another graph" in other.stderr) == (64, True)


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_resumed_run_may_be_profiled_and_computes_the_same(
    nproc, stopped, uninterrupted, copy, train
):
    folder = copy(stopped[nproc])
    ending = train(folder, *JOB, "train.profile=2", nproc=nproc)
    assert ending.code == 0, ending.stderr
    assert ending.stderr.count("perfetto") == 1
    for rank in range(nproc):
        names = traced(folder / "runs" / "smoke" / "profile" / f"rank{rank}.json.gz")
        parts = ("data", "forward", "backward", "optimizer")
        assert [part for part in parts if names.count(part) < 2] == []
    assert weights(folder).read_bytes() == weights(uninterrupted[nproc]).read_bytes()
    assert metrics(folder) == metrics(uninterrupted[nproc])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_other_processes_continue_to_1e_9(before, after, stopped, uninterrupted, copy, train):
    folder = copy(stopped[before])
    assert train(folder, *JOB, nproc=after).code == 0
    found, expected = (load_file(weights(f)) for f in (folder, uninterrupted[1]))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_finished_run_says_so_and_trains_no_more(uninterrupted, copy, train):
    folder = copy(uninterrupted[1])
    before = (folder / "runs" / "smoke" / "metrics.jsonl").read_bytes()
    ending = train(folder, *JOB)
    assert ending.code == 0
    assert "finished" in ending.stdout
    assert "test split" in ending.stdout
    assert (folder / "runs" / "smoke" / "metrics.jsonl").read_bytes() == before


def test_more_epochs_extend_a_run_as_if_it_had_always_been_so_long(uninterrupted, tmp_path, train):
    assert train(tmp_path, *JOB, "train.epochs=1").code == 0
    assert train(tmp_path, *JOB).code == 0
    assert weights(tmp_path).read_bytes() == weights(uninterrupted[1]).read_bytes()
    assert metrics(tmp_path) == metrics(uninterrupted[1])


@pytest.mark.parametrize(
    ("override", "path"),
    [("optim.lr=0.5", "optim.lr"), ("model.dim=16", "model"), ("run.seed=1", "run.seed")],
)
def test_another_configuration_in_the_directory_is_refused(override, path, stopped, copy, train):
    ending = train(copy(stopped[1]), *JOB, override)
    assert ending.code == 64
    assert path in ending.stderr
    assert "Traceback" not in ending.stderr


def test_another_graph_in_the_directory_is_refused(stopped, copy, train):
    ending = train(copy(stopped[1]), *JOB, "graph.seed=1")
    assert ending.code == 64
    assert "graph" in ending.stderr


@pytest.mark.parametrize("file", ["model.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(file, uninterrupted, copy, train):
    folder = copy(uninterrupted[1])
    newest = weights(folder).parent
    flip_a_byte(newest / file)
    ending = train(folder, *JOB)
    assert ending.code == 0, ending.stderr
    assert newest.name in ending.stdout + ending.stderr
    assert "damaged" in ending.stdout + ending.stderr
    assert weights(folder).read_bytes() == weights(uninterrupted[1]).read_bytes()
    assert metrics(folder) == metrics(uninterrupted[1])


def test_a_job_that_was_killed_goes_on_from_its_newest_checkpoint(
    start, train, wait_for_step, tmp_path, uninterrupted
):
    job = start(tmp_path, *smoke(*JOB))
    wait_for_step(tmp_path / "runs" / "smoke", STEPS_PER_EPOCH + 5)
    job.kill(rank=0, number=signal.SIGKILL)
    assert job.end().codes == [-9]
    assert train(tmp_path, *JOB).code == 0
    assert weights(tmp_path).read_bytes() == weights(uninterrupted[1]).read_bytes()
    assert metrics(tmp_path) == metrics(uninterrupted[1])


def test_a_second_job_in_the_directory_ends_with_78(start, train, wait_for_step, tmp_path):
    long = ["train.epochs=1000", *JOB[:3]]
    first = start(tmp_path, *smoke(*long))
    wait_for_step(tmp_path / "runs" / "smoke", 1)
    second = train(tmp_path, *long, nproc=2)
    first.kill(rank=0)
    assert (first.end().code, second.codes) == (75, [78, 78])
    assert second.stderr.count("runs/smoke is in use") == 1
    assert json.loads((tmp_path / "runs" / "smoke" / "exit.json").read_text())["code"] == 75


def test_the_launcher_hands_a_signal_on_and_ends_with_75(command, wait_for_step, tmp_path):
    argv = [str(ROOT / "launch" / "local.py"), "--nproc", "2", *smoke(*JOB, "train.epochs=1000")]
    program = command(tmp_path, *argv)
    wait_for_step(tmp_path / "runs" / "smoke", 10)
    program.process.send_signal(signal.SIGTERM)
    ending = program()
    assert ending.code == 75, ending.stderr
    assert "Traceback" not in ending.stderr


def smoke(*overrides):
    """Return the arguments that `train` gives to job/train.py."""
    tiny = ["graph.num_nodes=300", "train.epochs=1", "track.mlflow=null", "track.every_steps=1"]
    return [str(ROOT / "job" / "configs" / "smoke.yaml"), *tiny, *overrides]


def weights(folder):
    """Return the weights of the newest checkpoint."""
    return max((folder / "runs" / "smoke" / "checkpoints").iterdir()) / "model.safetensors"


def metrics(folder):
    """Return what was recorded of training and validation: {(step, name): value}."""
    lines = (folder / "runs" / "smoke" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {
        (record["step"], name): value
        for record in records
        for name, value in record.items()
        if name.startswith(("train/", "val/"))
    }


def traced(path):
    """Return the names of all that a profile holds."""
    with gzip.open(path) as file:
        return [event.get("name") for event in json.load(file)["traceEvents"]]


def results(folder):
    """Return the metrics of the summary."""
    return json.loads((folder / "runs" / "smoke" / "summary.json").read_text())["metrics"]


def flip_a_byte(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
