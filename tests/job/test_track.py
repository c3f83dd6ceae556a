"""The record of a training, and its replica in MLflow."""

import io
import json
import math
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from job.mlflow_run import KEY, leaves
from job.mlflow_store import open_client, open_experiment
from job.progress import Progress, clock
from job.record import PICTURE, cut
from job.track import MLflow, Status, Track, Tracker, main, open_tracker

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
LOSS = "train/topic/loss"


def start(run_dir: Path, uri: str | None, step: int = 0, **config: Any) -> Tracker:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "config.yaml").write_text(json.dumps(config))
    track = Track(mlflow=uri and MLflow(uri=uri, experiment="test"))
    tracker = open_tracker(track, run_dir, "cora", is_main=True, total_steps=40, world_size=2)
    tracker.begin(config, {"name": "Cora", "num_nodes": 5}, {"git": "abc"}, step)
    return tracker


def train(run_dir: Path, uri: str | None, first: int, last: int, status: Status) -> None:
    tracker = start(run_dir, uri, first - 1, run={"seed": 0})
    for step in range(first, last + 1):
        tracker.step(step, 10)
        tracker.log({LOSS: 1 / step}, step)
    tracker.finish(status, {"step": last, "metrics": {"test/topic/accuracy": 0.5}})


def runs_of(uri: str) -> list[Any]:
    client = open_client(uri)
    experiment = client.get_experiment_by_name("test")
    return list(client.search_runs([experiment.experiment_id]))


def steps_in(uri: str) -> list[int]:
    (run,) = runs_of(uri)
    return [m.step for m in open_client(uri).get_metric_history(run.info.run_id, LOSS)]


def records(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_job_is_one_mlflow_run_however_often_it_resumes(store: str, tmp_path: Path) -> None:
    train(tmp_path / "run", store, 1, 20, "stopped")
    train(tmp_path / "run", store, 11, 30, "failed")
    train(tmp_path / "run", store, 31, 40, "finished")
    (run,) = runs_of(store)
    assert run.info.run_name == "cora"
    assert run.info.status == "FINISHED"
    assert steps_in(store) == list(range(1, 41))


def test_metrics_file_holds_each_step_once_after_a_resume(tmp_path: Path) -> None:
    train(tmp_path, None, 1, 20, "stopped")
    train(tmp_path, None, 11, 40, "finished")
    assert [r["step"] for r in records(tmp_path) if LOSS in r] == list(range(1, 41))


@pytest.mark.parametrize(
    ("status", "ended"), [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")]
)
def test_summary_and_mlflow_say_how_the_job_ended(
    status: Status, ended: str, store: str, tmp_path: Path
) -> None:
    train(tmp_path, store, 1, 2, status)
    (run,) = runs_of(store)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert run.info.status == ended
    assert summary["status"] == status
    assert summary["mlflow_run_id"] == run.info.run_id
    assert run.data.metrics["test/topic/accuracy"] == 0.5


def test_run_has_parameters_tags_dataset_and_files(store: str, tmp_path: Path) -> None:
    tracker = start(tmp_path, store, optim={"lr": 1e-3}, loader={"num_neighbors": [15, 10]})
    tracker.finish("finished", {})
    (run,) = runs_of(store)
    assert run.data.params == {"optim.lr": "0.001", "loader.num_neighbors": "[15, 10]"}
    assert run.data.tags.items() >= {"git": "abc", "world_size": "2"}.items()
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["Cora"]
    files = open_client(store).list_artifacts(run.info.run_id)
    assert {file.path for file in files} == {"config.yaml", "dataset.json"}


def test_the_picture_of_conflicts_goes_to_the_run_and_later_where_it_was_missed(
    closed_port: str, store: str, tmp_path: Path
) -> None:
    for uri in (store, closed_port):
        run_dir = tmp_path / uri[:4]
        tracker = start(run_dir, uri, lr=0.1)
        (run_dir / PICTURE).write_bytes(b"png")
        tracker.finish("finished", {})
    assert main([str(tmp_path / "http"), "--uri", store, "--experiment", "test"]) == 0
    for run in runs_of(store):
        files = open_client(store).list_artifacts(run.info.run_id)
        assert PICTURE in {file.path for file in files}
        assert run.info.status == "FINISHED"
    assert len(runs_of(store)) == 2


def test_a_training_that_begins_anew_has_no_picture_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / PICTURE).write_bytes(b"png")
    tracker = start(tmp_path, None)
    assert not (tmp_path / PICTURE).exists()
    tracker.finish("stopped", {})


def test_another_configuration_from_step_0_is_another_run(store: str, tmp_path: Path) -> None:
    start(tmp_path, store, lr=0.1).finish("failed", {})
    start(tmp_path, store, lr=0.1).finish("failed", {})
    start(tmp_path, store, lr=0.2).finish("finished", {})
    assert [run.data.params["lr"] for run in runs_of(store)] == ["0.2", "0.1"]


def test_what_an_unreachable_store_missed_is_sent_later_and_once(
    closed_port: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, closed_port, 1, 40, "finished")
    said = capsys.readouterr().err
    assert said.count("takes no metrics") == said.count("has not got everything") == 1
    assert "Connection refused" in said
    for _ in range(2):
        assert main([str(tmp_path), "--uri", store, "--experiment", "test"]) == 0
    assert "\n0 points sent" in capsys.readouterr().out
    assert steps_in(store) == list(range(1, 41))
    assert runs_of(store)[0].info.status == "FINISHED"


def test_points_whose_receipt_got_lost_are_not_sent_twice(store: str, tmp_path: Path) -> None:
    train(tmp_path, store, 1, 20, "finished")
    state = json.loads((tmp_path / "mlflow.json").read_text())
    (tmp_path / "mlflow.json").write_text(json.dumps({**state, "run_id": None, "offset": 0}))
    assert main([str(tmp_path)]) == 0
    assert steps_in(store) == list(range(1, 21))


def test_an_empty_run_that_a_store_made_too_late_goes_and_one_with_points_stays(
    store: str, tmp_path: Path
) -> None:
    train(tmp_path, store, 1, 5, "finished")
    client, (run,) = open_client(store), runs_of(store)
    late, restored = (
        client.create_run(run.info.experiment_id, tags={KEY: run.data.tags[KEY]}) for _ in range(2)
    )
    client.log_metric(restored.info.run_id, LOSS, 1.0)
    assert main([str(tmp_path)]) == 0
    assert {r.info.run_id for r in runs_of(store)} == {run.info.run_id, restored.info.run_id}
    assert client.get_run(late.info.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(run.info.run_id).data.metrics == run.data.metrics


def test_a_run_that_is_sent_later_lasted_as_long_as_its_training(
    store: str, tmp_path: Path
) -> None:
    train(tmp_path, None, 1, 5, "finished")
    time.sleep(0.1)
    before = time.time()
    assert main([str(tmp_path), "--uri", store, "--experiment", "test"]) == 0
    info = runs_of(store)[0].info
    assert info.start_time <= info.end_time < 1000 * before


def test_training_thread_never_opens_a_connection(
    closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    connect = socket.socket.connect

    def spy(self: socket.socket, address: Any) -> None:
        threads.append(threading.current_thread().name)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", spy)
    train(tmp_path, closed_port, 1, 40, "finished")
    assert set(threads) == {"mlflow"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_null_and_not_sent(value: float, store: str, tmp_path: Path) -> None:
    tracker = start(tmp_path, store)
    tracker.log({"a": torch.tensor(value), "b": torch.tensor(0.5)}, 1)
    tracker.finish("finished", {})
    (record,) = records(tmp_path)
    assert (record["a"], record["b"]) == (None, 0.5)
    assert runs_of(store)[0].data.metrics == {"b": 0.5}


@given(st.lists(st.integers(1, 9)).map(sorted), st.integers(0, 9), st.integers(0, 40))
def test_cut_leaves_whole_lines_up_to_the_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], step: int, torn: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    lines = [json.dumps({"step": s, "time": 0.0, "a": s}).encode() + b"\n" for s in steps]
    whole = b"".join(lines)[: len(b"".join(lines)) - torn]
    path.write_bytes(whole)
    latest = cut(path, step)
    kept = [line for line, s in zip(lines, steps, strict=True) if s <= step]
    kept = kept[: whole.count(b"\n")]
    assert path.read_bytes() == b"".join(kept)
    assert latest == ({"a": json.loads(kept[-1])["a"]} if kept else {})


def test_other_processes_record_nothing_and_import_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from job.track import *\n"
        "t = open_tracker(Track(), Path('run'), 'r', is_main=False, total_steps=1, world_size=2)\n"
        "t.begin({}, {}, {}, 0); t.step(1, 1); t.log({'a': 1.0}, 1); t.message('a')\n"
        "t.finish('finished', {})\n"
        "assert not {'mlflow', 'torch', 'rich'} & sys.modules.keys()\n"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not list(tmp_path.iterdir())


def test_jobs_that_start_at_once_share_an_experiment(store: str) -> None:
    client, together = open_client(store), threading.Barrier(4)

    def open_it(name: str) -> str:
        together.wait()
        return open_experiment(client, store, name)

    with ThreadPoolExecutor(4) as jobs:
        assert len(set(jobs.map(open_it, ["new"] * 4))) == 1


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 64
    assert f"{tmp_path}: not a run directory" in capsys.readouterr().err


def test_a_run_without_mlflow_needs_a_uri(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", None, 1, 3, "finished")
    assert main([str(tmp_path / "run")]) == 64
    assert "name a store with --uri" in capsys.readouterr().err
    assert main([str(tmp_path / "run"), "--uri", store, "--experiment", "test"]) == 0
    assert steps_in(store) == [1, 2, 3]


def test_progress_is_plain_lines_where_stderr_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, None, 1, 40, "finished")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("step 40/40  loss 0.025  ")
    assert line.endswith(" seeds/s  0:00 left")


def test_progress_is_one_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "100")
    progress = Progress("cora", 40)
    progress.start(0)
    progress.advance(20, 100)
    progress.say("[a] line above")
    progress.stop()
    assert "[a] line above\n" in screen.getvalue()
    assert "20/40" in screen.getvalue().splitlines()[-2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (90, "1:30"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize("uri", ["mlruns", "file:./mlruns", ""])
def test_a_uri_that_mlflow_refuses_is_a_mistake_in_the_configuration(uri: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: sqlite:///FILE"):
        MLflow(uri=uri)


def test_leaves_of_a_configuration_are_dotted() -> None:
    tree = {"a": {"b": 0.001, "c": [1, 2]}, "d": None, "e": {}, "f": "x", "g@h": True}
    assert dict(leaves(tree)) == {
        "a.b": "0.001",
        "a.c": "[1, 2]",
        "d": "null",
        "e": "{}",
        "f": "x",
        "g_h": "true",
    }


def test_passwords_stay_here(closed_port: str, store: str, tmp_path: Path) -> None:
    uri = closed_port.replace("//", "//ann:secret@")
    tracker = start(tmp_path, None, track={"mlflow": {"uri": uri}})
    tracker.finish("finished", {})
    assert main([str(tmp_path), "--uri", store, "--experiment", "test"]) == 0
    assert "secret" not in str(runs_of(store)[0].data.params)
