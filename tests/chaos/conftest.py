"""What every fault is held to: nothing is left behind, and its outcome is written down.

`GRAPHMTL_FAULTS=FILE python -m pytest tests/chaos` adds a line of JSON to FILE for each test that
asks for `fault_report`; `python tests/chaos/faults.py FILE` makes docs/faults.md of them.
"""

import fcntl
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

ASIDE = re.compile(r"\..+\.(\d+|replaced|new|aside|tmp)|.+\.(partial|aside|tmp)")
"""Names of what is being written: `.config.yaml.4711`, `.step_00000120.replaced` ..."""
CONFIG = Path(__file__).parents[2] / "job" / "configs" / "smoke.yaml"
STEPS = 88
GRACE_SECONDS = 5.0
FAULTS = pytest.StashKey[list["Fault"]]()
MISSED = pytest.StashKey[bool]()


@dataclass
class Fault:
    """A line of docs/faults.md, in words for users."""

    fault: str
    """What goes wrong: "a process is killed"."""
    done: str
    """How the test brings it about, and what it compares."""
    bar: str
    """What must hold."""
    times: int = 0
    """How often it was tried: the test counts."""
    outcome: str = "the bar is met"


@pytest.fixture
def fault_report(request: pytest.FixtureRequest) -> Callable[..., Fault]:
    """Declare, with the arguments of `Fault`, what a test shows; written down when it has ended.

    Say it first, count `times` up as you go: a test that fails is reported, too. Lines of the same
    words (of a test's parameters, say) become one, their `times` added up.
    """
    faults = request.node.stash.setdefault(FAULTS, [])

    def report(fault: str, done: str, bar: str, times: int = 0) -> Fault:
        faults.append(Fault(fault, done, bar, times))
        return faults[-1]

    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Write down what a test has shown, when all of it is over: what it leaves counts, too."""
    report = yield
    item.stash[MISSED] = item.stash.get(MISSED, False) or report.failed
    if report.when == "teardown" and (path := os.environ.get("GRAPHMTL_FAULTS")):
        ending = {"test": item.nodeid.partition("[")[0], "passed": not item.stash[MISSED]}
        with open(path, "a") as file:
            for fault in item.stash.get(FAULTS, []):
                file.write(json.dumps(asdict(fault) | ending) + "\n")
    return report


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, cache_home: Path) -> Iterator[None]:
    """Fail where a process, a file half written or a lock outlives the test."""
    folder: Path | None = None
    if "tmp_path" in request.fixturenames:  # not for all: hypothesis would complain
        folder = request.getfixturevalue("tmp_path")
    before = set(children())
    os.environ["GRAPHMTL_TEST"] = request.node.nodeid
    yield
    del os.environ["GRAPHMTL_TEST"]
    end = time.monotonic() + GRACE_SECONDS
    while (left := processes(request.node.nodeid, folder, before)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}, "processes are left"
    for place in (cache_home, *([folder] if folder else [])):
        assert [p for p in place.rglob("*") if ASIDE.fullmatch(p.name)] == [], "files are left"
        assert [p for p in place.rglob("*.lock") if is_held(p)] == [], "locks are left"


class SmallJob:
    """A job of seconds that converts a graph, makes 88 steps, evaluates and saves four times."""

    def __init__(self, start: Callable[..., Any], folder: Path) -> None:
        self._start, self._folder = start, folder
        self._whole: dict[int, tuple[float, float]] = {}

    def argv(self, folder: Path, *overrides: str) -> list[str]:
        """Return its arguments where it runs in a folder."""
        sizes = ("loader.batch_size=2", "loader.global_batch_size=8", "train.epochs=4")
        graph = ("graph.num_nodes=300", f"graph.cache={folder / 'cache'}")
        precise = ("train.precision=fp32", "train.timeout_seconds=4")
        silent = ("track.every_steps=1", "track.mlflow=null", "track.report=false")
        return [str(CONFIG), *graph, *silent, *sizes, *precise, *overrides]

    def start(self, folder: Path, nproc: int) -> Any:
        """Start it in a folder, which is made."""
        folder.mkdir(exist_ok=True)
        return self._start(folder, *self.argv(folder), nproc=nproc)

    def wait(self, job: Any, folder: Path, rng: random.Random) -> None:
        """Wait for a random moment of its life: as likely each step, what is before, and after."""
        before, after = self._undisturbed(len(job.pids))
        step = rng.randrange(-STEPS // 3, STEPS + STEPS // 3)
        path, seen = folder / "runs" / "smoke" / "metrics.jsonl", min(step, STEPS)
        while step > 0 and not job.over() and last_step(path) < seen:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, before if step <= 0 else after if step >= STEPS else 0.02))

    def finish(self, folder: Path, nproc: int) -> None:
        """Let it go on to its end, and compare it with one that nobody disturbed."""
        self._undisturbed(nproc)
        ending = self.start(folder, nproc).end()
        assert ending.codes == [0] * nproc, ending.stderr
        assert outcome(folder) == outcome(self._folder / str(nproc))

    def _undisturbed(self, nproc: int) -> tuple[float, float]:
        """Return its seconds before its first step and after its last one."""
        if nproc not in self._whole:
            folder, begin = self._folder / str(nproc), time.monotonic()
            job, times = self.start(folder, nproc), []
            for step in (1, STEPS):
                while not job.over() and last_step(folder / "runs/smoke/metrics.jsonl") < step:
                    time.sleep(0.002)
                times.append(time.monotonic())
            ending = job.end()
            assert ending.codes == [0] * nproc, ending.stderr
            self._whole[nproc] = times[0] - begin, time.monotonic() - times[1]
        return self._whole[nproc]


def last_step(path: Path) -> int:
    """Return the step of the last whole line of metrics.jsonl; -1 where there is none."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    return int(json.loads(whole[-1])["step"]) if whole else -1


def outcome(folder: Path) -> tuple[bytes, list[Any], dict[str, float]]:
    """Return the last weights, each point of the record, in order, and the results."""
    run_dir = folder / "runs" / "smoke"
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    points = [
        (record["step"], name, value)
        for record in records
        for name, value in record.items()
        if name.startswith(("train/", "val/"))
    ]
    newest = max((run_dir / "checkpoints").iterdir()) / "model.safetensors"
    results = json.loads((run_dir / "summary.json").read_text())["metrics"]
    return newest.read_bytes(), points, results


@pytest.fixture(scope="session")
def small_job(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> SmallJob:
    """The job that is disturbed."""
    return SmallJob(start, tmp_path_factory.mktemp("undisturbed"))


def processes(test: str, folder: Path | None, before: set[int]) -> dict[int, str]:
    """Return the command lines of what a test has started, directly or not, and still runs."""
    marker = f"GRAPHMTL_TEST={test}".encode()
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            inside = folder is not None and (path / "cwd").readlink().is_relative_to(folder)
            marked = marker in (path / "environ").read_bytes().split(b"\0")
            if pid != os.getpid() and (inside or marked or pid in set(children()) - before):
                found[pid] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has gone, or is not ours
            continue
    return found


def children() -> list[int]:
    """Return the processes that this one has started."""
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def is_held(lock: Path) -> bool:
    """Return whether somebody holds a file lock."""
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
