"""Whatever is given as a configuration is taken, or refused with its place: never a traceback."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job.config import CONFIGS, JobConfig, load, read, tree_at, tree_of
from job.sweep_space import read_sweep
from job.yaml12 import parse, render
from launch.cluster import Cluster, read_cluster
from mtl.errors import ConfigError, UserError

SECONDS = 10
"""That one input may take, on a busy machine, before it counts as a hang."""
CODES = {64, 65, 77}
SHIPPED = {path.name: tree_at(path) for path in sorted(CONFIGS.glob("*.yaml"))}
SPACE = {
    "method": "random",
    "trials": 3,
    "seeds": [0, 1],
    "space": {
        "balancing.type": ["equal", "upgrad"],
        "model.sharing": [{"type": "hard"}, {"type": "mmoe", "num_experts": 4}],
        "model.dim": {"low": 64, "high": 256, "step": 64},
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    },
}
ODD = st.sampled_from(
    [
        *("", " ", ".", "..", "/", "../..", "~", "-", "--help", "null", "type", "1", "a.b", "a=b"),
        *("\u202e", "\x1b[31m", "\r\n", "日本", "x" * 300, "<script>", "%s{0}", "';--", "1e999"),
        *("file:///etc/passwd", "http://u:pw@h/", "${HOME}", "$(id)", "nan"),
    ]
)
NUMBERS = st.sampled_from(
    [
        *(0, -1, 1, 2, 10**9, 2**31, 2**63, -(2**63) - 1, 10**30, 1e-300, 1e308, -0.0, 0.5),
        *(float("nan"), float("inf"), float("-inf")),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | ODD | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(ODD | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
DEEP = st.integers(1, 45).map(lambda depth: json.loads("[" * depth + "]" * depth))
KEYS = st.sampled_from(sorted({key for tree in SHIPPED.values() for key in tree} | {"type"}))
SECTIONS = st.sampled_from([section for tree in SHIPPED.values() for section in tree.values()])
YAML = st.sampled_from(
    [
        *("!!python/object/apply:os.system [id]", "!!python/name:os.system", "!!binary aa", "!x y"),
        *(
            "&a [*a, *a]",
            "*a",
            "<<: {a: 1}",
            "{? [a] : b}",
            "!!set {a}",
            "%YAML 9.9\n---\na",
            "---",
        ),
        *(
            "[" * 999,
            "{a: " * 999,
            "- " * 999,
            "? " * 300,
            "'",
            '"',
            "|",
            ">",
            "\t",
            "`",
            "@",
            "\0",
        ),
        *("\ufeffa: 1", '"\\0"', '"\\ud800"', '"\\x1b[2J"', "9" * 5000, "1e" + "9" * 500, "\udcff"),
        *(
            "a: 1\n--- \nb: 2",
            "{a: 1, a: 2}",
            "{1: a, '1': b}",
            "postgresql://u:pw@h/db",
            "#" * 999,
        ),
    ]
)
PATHS = st.sampled_from(
    [
        *("run.seed", "optim.lr", "tasks.value.weight", "loader.num_neighbors", "graph", "tasks"),
        *("..", "run..seed", "", "cluster.x.y", "a" + ".a" * 60, "=", "\0", "\udcff", "run."),
    ]
)
Draw = Callable[[Any], Any]
Use = Callable[[], object]


def mutate(tree: Any, draw: Draw) -> None:
    """Do one thing to a random place of a tree."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        inner = tree[key]
        if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 3)) == 0:
            break
        tree = inner
    match draw(st.sampled_from(["value", "drop", "rename", "list", "add", "move", "deep"])):
        case "drop":
            del tree[key]
        case "rename" if isinstance(tree, dict):
            tree[draw(ODD | KEYS | st.just(f"{key}s"))] = tree.pop(key)
        case "list":
            tree[key] = draw(st.sampled_from([[inner], {"type": inner}, {str(key): inner}]))
        case "add" if isinstance(inner, dict):
            inner[draw(ODD | KEYS)] = draw(VALUES)
        case "move":
            tree[key] = deepcopy(draw(SECTIONS))
        case "deep":
            tree[key] = draw(DEEP)
        case _:
            tree[key] = draw(VALUES)


def tree(draw: Draw, folder: Path) -> Use:
    """A shipped configuration, changed in one to three places."""
    changed = deepcopy(SHIPPED[draw(st.sampled_from([*SHIPPED]))])
    for _ in range(draw(st.integers(1, 3))):
        mutate(changed, draw)
    again = draw(st.integers(0, 9)) == 0  # what takes ten times as long
    return lambda: written_and_read(read(changed, []), again=again)


def written_and_read(config: JobConfig, *, again: bool) -> None:
    """What is taken can be written to config.yaml and read from there."""
    whole = tree_of(config)
    assert not again or tree_of(read(parse(render(whole), "config.yaml"), [])) == whole


def override(draw: Draw, folder: Path) -> Use:
    """Any `key.path=value`."""
    key = draw(PATHS | ODD | st.text(max_size=10))
    value = draw(YAML | ODD | st.text(max_size=20) | VALUES.map(render))
    return lambda: read(deepcopy(SHIPPED["quickstart.yaml"]), [f"{key}={value}"])


def file(draw: Draw, folder: Path) -> Use:
    """A file in which bytes are others, more or fewer."""
    whole = (CONFIGS / draw(st.sampled_from(["smoke.yaml", "cora_topic.yaml"]))).read_bytes()
    place, length = draw(st.integers(0, len(whole))), draw(st.sampled_from([0, 1, 8, len(whole)]))
    piece = draw(st.binary(max_size=8) | YAML.map(lambda text: text.encode("utf-8", "replace")))
    path = folder / "config.yaml"
    path.write_bytes(whole[:place] + piece + whole[place + length :])
    return lambda: load([str(path)])


def cluster(draw: Draw, folder: Path) -> Use:
    """Any `cluster:` section, which job/config.py passes on unread."""
    keys = st.sampled_from([*Cluster.__dataclass_fields__]) | ODD
    section = draw(st.dictionaries(keys, VALUES, max_size=4) | VALUES)
    return lambda: read_cluster(section)


def space(draw: Draw, folder: Path) -> Use:
    """The space of a sweep, changed in one place, and trials of it."""
    changed = deepcopy(SPACE)
    mutate(changed, draw)
    (folder / "space.yaml").write_text(render(changed), encoding="utf-8")

    def use() -> None:
        sweep = read_sweep(folder / "space.yaml")
        assert sweep.num_trials
        list(islice(sweep.corners(), 9))
        if sweep.method != "tpe":  # which needs Optuna
            sweep.propose(0, [], 1)

    return use


INPUTS = {tree: 900, override: 800, file: 400, cluster: 300, space: 200}
"""What is made up, and how many of it in CI."""
FAULT = (
    "a malformed configuration",
    "files, overrides, clusters and spaces of sweeps: what is shipped, changed at random",
    "taken, or refused with its place and 64: no traceback, no hang",
)


@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__)
def test_any_configuration_is_taken_or_refused_with_its_place(make, tmp_path, fault_report):
    fault = fault_report(*FAULT)
    fault.times = fuzz(make, tmp_path, INPUTS[make], derandomize=True)
    assert fault.times >= INPUTS[make]


@pytest.mark.soak
@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__)
def test_any_of_many_configurations_is_taken_or_refused(make, tmp_path, fault_report):
    fault = fault_report(*FAULT)
    fault.times = fuzz(make, tmp_path, 20 * INPUTS[make])
    assert fault.times >= 20 * INPUTS[make]


def fuzz(
    make: Callable[[Draw, Path], Use], folder: Path, num: int, *, derandomize: bool = False
) -> int:
    """Try so many inputs; return how many there were."""
    count = 0

    @settings(
        max_examples=num,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(data=st.data())
    def every(data: st.DataObject) -> None:
        nonlocal count
        use = make(data.draw, folder)
        count += 1
        check(use)

    every()
    return count


def check(use: Use) -> None:
    """Use an input: it is taken, or each line of an error names a place."""
    with limited():
        try:
            use()
        except UserError as error:
            assert error.exit_code in CODES  # noqa: PT017
            for line in str(error).splitlines():
                assert ": " in line, line
                assert len(line) < 2000


@contextmanager
def limited() -> Iterator[None]:
    """Fail where an input is not done with in time."""

    def hang(*_: object) -> None:
        pytest.fail(f"not done within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["empty", "folder", "huge", "endless", "name", "too long", "NUL"])
def test_what_is_no_file_of_a_configuration_is_refused_at_once(kind, tmp_path):
    path = tmp_path / "config.yaml"
    match kind:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "huge":
            with path.open("w") as sparse:
                sparse.truncate(100 << 20)
        case "endless":
            path = Path("/dev/zero")
        case "name":
            path = Path("x" * 300)
        case "too long":
            path.write_text("# " + "x" * (1 << 20))
        case "NUL":
            path = Path("a\0b")
    with limited(), pytest.raises(ConfigError, match=path.name[:1]):
        load([str(path)])
