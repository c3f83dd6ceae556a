"""A tracking server that fails in every way: no step waits, no point is lost, none comes twice."""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from job import mlflow_sink
from job.mlflow_run import clean
from job.track import MLflow, Track, Tracker, main, open_tracker

# mlflow, sqlalchemy and their imports warn; our own warnings stay errors.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(mlflow|sqlalchemy|google|pydantic).*"),
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
]
ROOT = Path(__file__).parents[2]
JOB = [str(ROOT / "job" / "configs" / "smoke.yaml"), "graph.num_nodes=300", "train.epochs=40"]
JOB += ["track.every_steps=1", "track.report=false", "evaluate.every_epochs=10"]
WORDS = {
    "down": "its port is closed",
    "lost": "it does what it is asked, and its answers get lost",
    "torn": "its answers break off",
    "other": "JSON of somebody else comes, and nothing is done",
    "html": "a page to log in comes",
    "slow": "each answer takes 2 s, twice as long as it is waited for",
}
WORDS |= {f"status {n}": f"answer {n}, Retry-After an hour" for n in (401, 403, 429, 500, 503)}
OFTEN = ["lost", "other", "status 429"]  # the others are for `make soak`
FAULTS = [pytest.param(k, marks=() if k in OFTEN else pytest.mark.soak) for k in WORDS]


class Store:
    """MLflow's own store, in a process of its own, with faults that can be switched on."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "mlflow.db"
        command = [sys.executable, str(Path(__file__).with_name("faulty_mlflow.py")), str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.uri = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def fail(self, kind: str) -> int:
        """Let each answer fail from now on; `none` heals. Return how many were asked for before."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin
        assert stdout
        print(kind, file=stdin, flush=True)
        return int(stdout.readline())

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def rows(self, query: str, *values: str) -> list[Any]:
        """Ask the database itself, which has no faults."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def points(self, run_dir: Path) -> "Counter[Any]":
        """Return how often the runs of a run directory have each point of its record."""
        return Counter(
            self.rows(
                "SELECT m.key, m.step, m.timestamp, m.value FROM metrics m JOIN tags t USING "
                "(run_uuid) JOIN runs r USING (run_uuid) WHERE t.key = 'graphmtl.key' AND "
                "t.value = ? AND r.lifecycle_stage = 'active' AND m.key NOT LIKE 'system/%' "
                "AND m.key NOT LIKE 'cost/%'",
                state(run_dir)["key"],
            )
        )

    def has(self, run_dir: Path, step: int) -> bool:
        """Return whether points of a step have come."""
        return any(its == step for _, its, *_ in self.points(run_dir))

    def runs(self, run_dir: Path) -> list[Any]:
        """Return status and end of the runs of a run directory, without deleted ones."""
        return self.rows(
            "SELECT r.status, r.end_time FROM runs r JOIN tags t USING (run_uuid) WHERE "
            "t.key = 'graphmtl.key' AND t.value = ? AND r.lifecycle_stage = 'active'",
            state(run_dir)["key"],
        )


def state(run_dir: Path) -> dict[str, Any]:
    """Return what the sender remembers."""
    found: dict[str, Any] = json.loads((run_dir / "mlflow.json").read_text())
    return found


def record(run_dir: Path) -> "Counter[Any]":
    """Return how often metrics.jsonl has each point."""
    found: Counter[Any] = Counter()
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step, milliseconds = values.pop("step"), round(1000 * values.pop("time"))
        found.update((clean(k), step, milliseconds, v) for k, v in values.items() if v is not None)
    return found


@pytest.fixture(scope="session")
def the_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.thaw()
    store.process.communicate()


@pytest.fixture
def store(the_store: Store) -> Iterator[Store]:
    """The server without faults, before the test and after it."""
    yield the_store
    the_store.thaw()
    the_store.fail("none")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the sender in this process wait for nothing long."""
    monkeypatch.setattr(mlflow_sink, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(mlflow_sink, "MAX_PAUSE_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def begin(run_dir: Path, uri: str, step: int = 0, experiment: str = "chaos") -> Tracker:
    """Start to record a training in this process."""
    run_dir.mkdir(exist_ok=True)
    (run_dir / "config.yaml").write_text("")
    track = Track(mlflow=MLflow(uri=uri, experiment=experiment), report=False)
    tracker = open_tracker(track, run_dir, "chaos", is_main=True, total_steps=90, world_size=1)
    tracker.begin({"run": {"seed": 0}}, {"name": "none"}, {}, step)
    return tracker


def log(tracker: Tracker, first: int, last: int) -> None:
    """Train some steps; no call may take long."""
    for step in range(first, last + 1):
        began = time.perf_counter()
        tracker.step(step, 10)
        tracker.log({"train/a/loss": 1 / step, "train/b/loss": step / 3}, step)
        assert time.perf_counter() - began < 0.3


def until(holds: Callable[..., bool], *args: Any) -> None:
    """Wait until the sender in the background has come so far."""
    deadline = time.monotonic() + 30
    while not holds(*args):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def catch_up(run_dir: Path, *argv: str) -> None:
    """Send what is missing, as `python -m job.track RUN_DIR` does."""
    assert main([str(run_dir), *argv]) == 0


POINTS = "every point of metrics.jsonl in MLflow, each once, after `python -m job.track RUN_DIR`"
ONCE = "each step of each metric once, in one MLflow run"


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_at_the_start_in_the_middle_and_at_the_end_costs_no_point(
    kind: str,
    store: Store,
    hasty: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault_report: Callable[..., Any],
) -> None:
    how = "MLflow fails at the start, in the middle and at the end, and is well in between: "
    fault = fault_report("MLflow's server fails", how + WORDS[kind], POINTS)
    run_dir = tmp_path / "run"
    store.fail(kind)
    tracker = begin(run_dir, store.uri)
    for step in (20, 60):  # it fails, it is well, it fails again
        log(tracker, step - 19, step)
        until(lambda: store.fail("") > 0 or kind == "down")
        time.sleep(0.2)
        store.fail("none")
        log(tracker, step + 1, step + 20)
        until(store.has, run_dir, step + 20)
        store.fail(kind)
    tracker.finish("finished", {"step": 80, "metrics": {"test/a/accuracy": 0.5}})
    assert "has not got everything; later" in capsys.readouterr().err
    store.fail("none")
    catch_up(run_dir)
    assert store.points(run_dir) == record(run_dir)
    ended = store.runs(run_dir)
    assert [status for status, _ in ended] == ["FINISHED"]
    catch_up(run_dir)
    assert store.points(run_dir) == record(run_dir)
    assert store.runs(run_dir) == ended
    fault.times += 3


def test_a_frozen_server_that_wakes_up_does_late_what_was_asked_and_nothing_comes_twice(
    store: Store,
    hasty: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault_report: Callable[..., Any],
) -> None:
    how = "MLflow is stopped (SIGSTOP) while a run is made, and while points come, and goes on"
    fault = fault_report("MLflow's server freezes", how, ONCE)
    monkeypatch.setattr(mlflow_sink, "START_SECONDS", 0.3)
    store.freeze()
    tracker = begin(tmp_path / "run", store.uri)
    log(tracker, 1, 20)
    store.thaw()
    log(tracker, 21, 40)
    store.freeze()
    log(tracker, 41, 60)
    time.sleep(1.0)  # what the sender asked in vain is still in the server's queue
    store.thaw()
    log(tracker, 61, 80)
    tracker.finish("finished", {"step": 80})
    catch_up(tmp_path / "run")
    assert store.points(tmp_path / "run") == record(tmp_path / "run")
    assert len(store.runs(tmp_path / "run")) == 1
    fault.times += 2


def test_a_run_that_somebody_deletes_is_made_again_with_all_its_points(
    store: Store, hasty: None, tmp_path: Path, fault_report: Callable[..., Any]
) -> None:
    how = "its MLflow run is deleted in the middle of a training"
    fault = fault_report("somebody tidies up MLflow", how, POINTS)
    tracker = begin(tmp_path / "run", store.uri)
    log(tracker, 1, 20)
    until(store.has, tmp_path / "run", 20)
    MlflowClient(store.uri).delete_run(state(tmp_path / "run")["run_id"])
    log(tracker, 21, 40)
    until(store.has, tmp_path / "run", 40)
    tracker.finish("finished", {"step": 40})
    assert store.points(tmp_path / "run") == record(tmp_path / "run")
    assert [status for status, _ in store.runs(tmp_path / "run")] == ["FINISHED"]
    fault.times += 1


@pytest.mark.soak
def test_a_deleted_experiment_is_named_and_all_is_sent_once_it_is_restored_or_to_another(
    store: Store,
    hasty: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault_report: Callable[..., Any],
) -> None:
    how = "its MLflow experiment is deleted in the middle of a training; then another is named"
    fault = fault_report("somebody tidies up MLflow", how, f"a message that says so; {POINTS}")
    client = MlflowClient(store.uri)
    tracker = begin(tmp_path / "run", store.uri, experiment="deleted")
    log(tracker, 1, 20)
    until(store.has, tmp_path / "run", 20)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    log(tracker, 21, 40)
    tracker.finish("finished", {"step": 40})
    assert main([str(tmp_path / "run")]) == 73
    assert "the experiment 'deleted' is deleted: restore it" in capsys.readouterr().err
    catch_up(tmp_path / "run", "--experiment", "another")
    assert store.points(tmp_path / "run") == record(tmp_path / "run")
    client.restore_experiment(client.get_experiment_by_name("deleted").experiment_id)
    catch_up(tmp_path / "run", "--experiment", "deleted")
    assert set(store.points(tmp_path / "run").values()) == {2}  # once in each experiment
    assert len(store.runs(tmp_path / "run")) == 2
    fault.times += 1


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """job/train.py that writes down who opens a connection, and sends more often."""
    script = tmp_path / "watched.py"
    script.write_text(
        "import os, runpy, sys, threading\n"
        "from job import mlflow_sink\n"
        "mlflow_sink.POLL_SECONDS = 0.5\n"
        "log = os.open('calls', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        os.write(log, f'{threading.current_thread().name} {args[:2]}\\n'.encode())\n"
        "sys.addaudithook(hook)\n"
        f"runpy.run_path({str(ROOT / 'job' / 'train.py')!r}, run_name='__main__')\n"
    )
    return script


def callers(folder: Path, uri: str) -> set[str]:
    """Return the threads that called the port of an address."""
    lines = (folder / "calls").read_text().splitlines()
    return {line.split()[0] for line in lines if uri.rpartition(":")[2] in line}


@pytest.mark.parametrize(
    "kind", ["down", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("frozen", "slow"))]
)
def test_no_call_comes_from_the_thread_that_trains_and_neither_start_nor_end_waits_for_long(
    kind: str,
    store: Store,
    start: Callable[..., Any],
    watched: Path,
    tmp_path: Path,
    fault_report: Callable[..., Any],
) -> None:
    how = f"MLflow's server is {kind} from before the start of a job until after its end"
    bar = "no call from the thread that trains; the start 10 s later at most, the end within 30 s"
    fault = fault_report("MLflow's server is not there", how, f"{bar}; {POINTS}")
    uri = store.uri
    if kind == "frozen":
        store.freeze()
    elif kind == "slow":
        store.fail("slow")
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    run_dir = tmp_path / "runs" / "smoke"
    job = start(tmp_path, *JOB, f"track.mlflow.uri={uri}", script=str(watched))
    began = time.time()
    ending = job.end()
    assert ending.code == 0, ending.stderr
    times = [milliseconds / 1000 for _, _, milliseconds, _ in record(run_dir)]
    assert min(times) - began < 30
    assert time.time() - max(times) < 30
    assert {"mlflow"} <= callers(tmp_path, uri) <= {"mlflow", "SystemMetricsMonitor"}
    store.thaw()
    store.fail("none")
    catch_up(run_dir, "--uri", store.uri)
    assert store.points(run_dir) == record(run_dir)
    fault.times += 1


def test_a_job_killed_while_it_sends_and_resumed_and_stopped_has_each_step_once(
    store: Store,
    start: Callable[..., Any],
    wait_for_step: Callable[..., None],
    watched: Path,
    tmp_path: Path,
    fault_report: Callable[..., Any],
) -> None:
    how = "SIGKILL while a frozen server owes an answer; it wakes up; the job goes on; SIGTERM"
    fault = fault_report("a job is killed while it sends", how, f"{ONCE}, by one thread")
    run_dir = tmp_path / "runs" / "smoke"
    argv = [*JOB, "train.epochs=100000", f"track.mlflow.uri={store.uri}"]
    job = start(tmp_path, *argv, script=str(watched))
    wait_for_step(run_dir, 20)
    store.freeze()
    time.sleep(1.5)  # it waits for an answer now
    job.kill(0, signal.SIGKILL)
    job.end()
    killed_at = last_step(run_dir)
    store.thaw()
    job = start(tmp_path, *argv, script=str(watched))
    wait_for_step(run_dir, killed_at + 20)
    job.kill(0)
    assert job.end().code == 75
    catch_up(run_dir)
    assert steps(store.points(run_dir)) == steps(record(run_dir))
    assert len(store.runs(run_dir)) == 1
    assert callers(tmp_path, store.uri) <= {"mlflow", "SystemMetricsMonitor"}
    fault.times += 1


@pytest.mark.soak
def test_a_job_killed_again_and_again_under_one_fault_after_the_other_has_each_step_once(
    store: Store,
    start: Callable[..., Any],
    wait_for_step: Callable[..., None],
    watched: Path,
    tmp_path: Path,
    fault_report: Callable[..., Any],
) -> None:
    how = "SIGKILL at random moments, MLflow failing in a random way before, and well in between"
    fault = fault_report("a job is killed while it sends", how, ONCE)
    rng = random.Random(0)
    run_dir = tmp_path / "runs" / "smoke"
    argv = [*JOB, "train.epochs=100000", f"track.mlflow.uri={store.uri}"]
    for _ in range(8):
        before = last_step(run_dir)
        job = start(tmp_path, *argv, script=str(watched))
        wait_for_step(run_dir, before + 30)
        time.sleep(rng.uniform(0, 1))
        store.fail(rng.choice(list(WORDS)))
        time.sleep(rng.uniform(0, 3))
        job.kill(0, signal.SIGKILL)
        job.end()
        time.sleep(2.5)  # whatever it has asked for is done, slow as the server may be
        store.fail("none")
        fault.times += 1
    job = start(tmp_path, *argv, script=str(watched))
    wait_for_step(run_dir, last_step(run_dir) + 30)
    job.kill(0)
    assert job.end().code == 75
    catch_up(run_dir)
    assert steps(store.points(run_dir)) == steps(record(run_dir))
    assert len(store.runs(run_dir)) == 1


def last_step(run_dir: Path) -> int:
    """Return the last step of the record; 0 where there is none."""
    if not (run_dir / "metrics.jsonl").exists():
        return 0
    return max((step for _, step, *_ in record(run_dir)), default=0)


def steps(points: "Counter[Any]") -> "Counter[Any]":
    """Return how often each step of a metric is there: a resumed training logs some again."""
    found: Counter[Any] = Counter()
    for (key, step, *_), number in points.items():
        found[key, step] += number
    return found
