"""Seed the classic bugs of trainers one at a time into a copy of the code; a test has to fail.

usage: python tests/mutants/run.py [WORD ...]     (those with a word in their name; default: all)

The bugs stand in the .toml files beside. What has not changed since it was killed is not run again.
All of them together write docs/mutants.md.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import hypothesis  # noqa: F401
import numba  # noqa: F401
import pytest
import sklearn.metrics  # noqa: F401
import torch_geometric.loader  # noqa: F401
import torchmetrics.classification
import torchmetrics.regression  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
KNOWN = ROOT / ".pytest_cache" / "mutants.json"
PAGE = ROOT / "docs" / "mutants.md"
TIMEOUT_SECONDS = 600
SURVIVED, HUNG, BROKEN = "", -1, -2
ENVIRONMENT = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # whatever else is installed
TICKS = count(int(time.time()))
HEAD = """# Bugs that the tests find

`make mutants` seeds each of these into a copy of the code, one at a time, and runs the tests that
should notice. It fails where one survives; this page is what it wrote. The bugs are the classic
ones of trainers, as small as people make them: `tests/mutants/*.toml`.
"""


@dataclass(frozen=True)
class Mutant:
    """A bug.

    Attributes:
        area: of the code; the file that lists it.
        name: what is done wrong.
        breaks: what that spoils.
        file: where.
        old: text that stands there once.
        new: text in its place.
        tests: that should fail, as pytest names them.
    """

    area: str
    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: list[str]

    def key(self) -> str:
        """Return what the result follows from."""
        files = [self.file, *sorted({test.partition("::")[0] for test in self.tests})]
        parts = [json.dumps(asdict(self)).encode(), *((ROOT / f).read_bytes() for f in files)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read() -> Iterator[Mutant]:
    """Yield all mutants."""
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for name, fields in tomllib.loads(path.read_text(encoding="utf-8")).items():
            yield Mutant(path.stem, name, **fields)


def copy_to(folder: Path) -> None:
    """Copy the working tree: what git tracks, and what it does not ignore."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def pytest_on(folder: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Run tests on the copy, in a fork: what they import from elsewhere is there already.

    Returns:
        The exit code, and what was printed.
    """
    output = folder / "output.txt"
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(folder)
        sys.path.insert(0, str(folder))  # before an editable installation of the code
        os.environ |= {**ENVIRONMENT, "PYTHONPATH": str(folder)}
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in (1, 2):
            os.dup2(
                os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC * (descriptor == 1)),
                descriptor,
            )
        os._exit(run_tests(folder, tests))
    code = wait(pid)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # whatever the tests left behind
    return code, output.read_text(errors="replace")


def run_tests(folder: Path, tests: Iterable[str]) -> int:
    """Run tests in this very process; return pytest's exit code."""
    try:
        import job
        import launch
        import mtl

        for package in (job, launch, mtl):
            assert Path(str(package.__file__)).is_relative_to(folder), package.__file__
        return int(pytest.main(["-xqm", "not soak", "-p", "no:cacheprovider", *tests]))
    except BaseException:
        traceback.print_exc()
        return BROKEN
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def wait(pid: int) -> int:
    """Return the exit code of a process; end it where it hangs."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return HUNG


@contextmanager
def seeded(folder: Path, mutant: Mutant) -> Iterator[None]:
    """Put a bug into the copy for a while."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has another text now"
    try:
        write(path, text.replace(mutant.old, mutant.new))
        yield
    finally:
        write(path, text)


def write(path: Path, text: str) -> None:
    """Write a module with a time of its own: compiled code is told apart by size and second."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (tick := next(TICKS), tick))


def failing(folder: Path, tests: Iterable[str]) -> str:
    """Return the first test that fails on the copy; SURVIVED where all pass."""
    code, output = pytest_on(folder, tests)
    if code == HUNG:
        return "it hangs"
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    if code == 1 and found:
        return found[1]
    if code:
        sys.exit(f"pytest ended with {code}:\n{output[-5000:]}")
    return SURVIVED


def check(folder: Path, mutants: list[Mutant]) -> None:
    """End where tests fail on the code as it is: mutants would show nothing."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    if tests and (wrong := failing(folder, tests)):
        sys.exit(f"{wrong} fails without any mutant")


def main(words: list[str]) -> int:
    """Run what is not known yet, show all, and return 1 where one survived."""
    mutants = [m for m in read() if not words or any(word in m.name for word in words)]
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    keys = {mutant.name: mutant.key() for mutant in mutants}
    fresh = [mutant for mutant in mutants if not known.get(keys[mutant.name], {}).get("by")]
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name).resolve()
        copy_to(folder)
        check(folder, [mutant for mutant in fresh if keys[mutant.name] not in known])
        known = {keys[mutant.name]: {} for mutant in fresh} | known
        for mutant in fresh:
            start = time.monotonic()
            with seeded(folder, mutant):
                by = failing(folder, mutant.tests)
            known[keys[mutant.name]] = {"by": by, "seconds": time.monotonic() - start}
            KNOWN.parent.mkdir(exist_ok=True)
            KNOWN.write_text(json.dumps(known, indent=1))
            said = f"{time.monotonic() - start:4.0f} s  {mutant.name}: {by or 'SURVIVED'}"
            print(said, flush=True)
    results = [(mutant, known[keys[mutant.name]]) for mutant in mutants]
    survivors = [mutant.name for mutant, result in results if not result["by"]]
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} killed", *survivors, sep="\n  ")
    if not words and not survivors:
        PAGE.write_text(page(results), encoding="utf-8")
    return bool(survivors)


def page(results: list[tuple[Mutant, dict]]) -> str:
    """Return docs/mutants.md."""
    lines, area = [HEAD, f"{len(results)} bugs, {len(results)} found."], ""
    for mutant, result in results:
        if mutant.area != area:
            area = mutant.area
            lines += [f"\n## {area.capitalize()}\n", "| bug | what it breaks | found by | s |"]
            lines += ["|---|---|---|---:|"]
        file, _, test = result["by"].partition("::")
        fact = test.partition("[")[0].removeprefix("test_").replace("_", " ")
        row = [mutant.name, mutant.breaks, f"`{file.removeprefix('tests/')}` {fact}".strip()]
        lines.append(f"| {' | '.join(row)} | {result['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
