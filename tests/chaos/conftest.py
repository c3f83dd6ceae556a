"""What every fault is held to: nothing is left behind, and its outcome is written down.

`GRAPHMTL_FAULTS=FILE python -m pytest tests/chaos` adds a line of JSON to FILE for each test that
asks for `fault_report`; `python tests/chaos/faults.py FILE` makes docs/faults.md of them.
"""

import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ASIDE = re.compile(r"\..+\.(\d+|replaced|new|aside|tmp)|.+\.(partial|aside|tmp)")
"""Names of what is being written: `.config.yaml.4711`, `.step_00000120.replaced` ..."""
GRACE_SECONDS = 5.0
PASSED = pytest.StashKey[bool]()


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
def fault_report(request: pytest.FixtureRequest) -> Iterator[Callable[..., Fault]]:
    """Declare, with the arguments of `Fault`, what a test shows; written down when it has ended.

    Say it first, count `times` up as you go: a test that fails is reported, too. Lines of the same
    words (of a test's parameters, say) become one, their `times` added up.
    """
    faults: list[Fault] = []

    def report(fault: str, done: str, bar: str, times: int = 0) -> Fault:
        faults.append(Fault(fault, done, bar, times))
        return faults[-1]

    yield report
    if path := os.environ.get("GRAPHMTL_FAULTS"):
        passed = request.node.stash.get(PASSED, False)
        test = request.node.nodeid.partition("[")[0]
        lines = [json.dumps(asdict(f) | {"test": test, "passed": passed}) for f in faults]
        with open(path, "a") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Iterator[None]:
    """Remember whether the test itself passed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report  # type: ignore[return-value]


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
