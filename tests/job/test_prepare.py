"""prepare: a graph folder once, whole or not at all, and what it holds in words and numbers."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from job import conversion
from job.config import CONFIGS
from job.conversion import ConversionProgress
from job.prepare import main
from job.runtime import CannotWriteError
from job.yaml12 import parse
from mtl.errors import ConfigError, DataError
from mtl.graphs import Source
from mtl.graphs.cache import open_graph

ROOT = Path(__file__).parents[2]
MARKET = str(CONFIGS / "marketplace.yaml")
SMALL = ["graph.num_users=200", "graph.num_items=80", "graph.num_shops=10"]


def run(*argv: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "job" / "prepare.py"), *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def lines(tmp_path, capsys):
    """Prepare a marketplace into a folder, and return what is printed."""

    def lines(*overrides: str, folder: str = "out") -> list[str]:
        main([MARKET, str(tmp_path / folder), *SMALL, *overrides])
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_folder_is_the_graph_of_the_configuration(lines, tmp_path):
    lines("graph.seed=3")
    options = {"num_users": 200, "num_items": 80, "num_shops": 10, "seed": 3}
    expected = open_graph(Source.read({"type": "marketplace", **options}))
    found = open_graph(Source.read({"type": "folder", "path": str(tmp_path / "out")}))
    assert found.fingerprint == expected.fingerprint


def test_the_last_line_is_the_section_to_train_on_it(lines):
    for folder in ("out", "odd, name: {x}", "tab\there"):
        section = parse(lines(folder=folder)[-1], "prepare")["graph"]
        assert open_graph(Source.read(section)).num_nodes("user") == 200


def test_the_card_has_types_labels_splits_and_warnings(lines):
    text = "\n".join(lines("graph.missing=0"))
    assert text.startswith("marketplace  290 nodes, ")
    for words in (
        r"user__buys__item",
        "weight, time",
        "user.churn                  2 classes   ██████ 100%",
        "user__buys__item.returned",
        "  time",
    ):
        assert words in text


def test_a_second_call_converts_nothing_and_shows_the_same(lines, tmp_path, capsys):
    first = lines()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    main([MARKET, str(tmp_path / "out"), *SMALL])
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{tmp_path / 'out'} holds this graph already.", *first]
    assert captured.err == ""
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("width", [80, 120])
def test_the_card_fits_the_terminal(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)  # whose name is long
    main([MARKET, "out", *SMALL])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "user__buys__item.returned" in printed  # on one line, as is the widest row:
    assert re.search(r"^user\.value +numbers .* ± [\d.]+ *$", printed, re.MULTILINE)


def test_warnings_are_printed(lines):
    text = "\n".join(lines("graph.num_shops=150"))
    assert re.search(r"! shop: \d+ labelled nodes that no edge leads to", text)


def test_a_graph_folder_is_not_copied(lines, tmp_path):
    lines()
    (tmp_path / "c.yaml").write_text(f"graph: {{type: folder, path: {tmp_path / 'out'}}}")
    with pytest.raises(ConfigError, match="is a graph folder already"):
        main([str(tmp_path / "c.yaml"), str(tmp_path / "copy")])


def test_a_file_with_a_graph_section_alone_is_enough_and_the_rest_is_not_looked_at(tmp_path):
    for name, rest in (("a", ""), ("b", "tasks: nonsense\nrun: 5\n")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"graph: {{type: synthetic, num_nodes: 50}}\n{rest}")
        main([str(path), str(tmp_path / name)])
        assert (tmp_path / name / "graph.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["graph.num_user=3"], r"graph\.num_user: unknown key; did you mean 'num_users'\?"),
        (["graph.type=market"], r"graph: unknown type 'market'; did you mean 'marketplace'\?"),
        (["graph.noise=2", "graph.seed=-1"], r"(?s)graph\.noise: .*graph\.seed: "),
        (["graph=null"], "graph: expected a mapping with a `type`, found None"),
        (["train.epochs=3"], r"train\.epochs: only the section `graph` is read here"),
    ],
)
def test_a_mistake_is_named_by_its_yaml_path(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        main([MARKET, str(tmp_path / "out"), *overrides])
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_graph_section_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("run: {name: x}\n")
    with pytest.raises(ConfigError, match="graph: required, but missing"):
        main([str(tmp_path / "c.yaml"), str(tmp_path / "out")])


@pytest.mark.parametrize("argv", [[], [MARKET], [MARKET, "a", "b"]])
def test_anything_but_a_file_and_a_folder_is_refused(argv):
    with pytest.raises(ConfigError, match=r"expected CONFIG\.yaml OUT_DIR"):
        main(argv)


def test_a_folder_of_another_graph_is_refused_and_kept(lines, tmp_path):
    lines()
    before = (tmp_path / "out" / "graph.json").read_bytes()
    with pytest.raises(ConfigError, match=r"out \(OUT_DIR\): holds another graph"):
        lines("graph.seed=1")
    assert (tmp_path / "out" / "graph.json").read_bytes() == before


def test_a_folder_that_was_damaged_is_refused(lines, tmp_path):
    lines()
    path = tmp_path / "out" / "node.user.features.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DataError, match="SHA-256"):
        lines()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWriteError, match=r"out: cannot be written: .*file"):
        main([MARKET, str(tmp_path / "file" / "out"), *SMALL])


@pytest.mark.parametrize(
    ("section", "place", "code"),
    [
        ("{type: synthetic, num_nodes: 50}", "out", 0),
        ("{type: synthetic, num_nodes: -1}", "out", 64),
        ("{type: amazon, root: ., url: 'file:///nowhere'}", "out", 65),
        ("{type: synthetic, num_nodes: 50}", "c.yaml/out", 73),
    ],
)
def test_exit_codes_tell_whose_mistake_it_was(tmp_path, section, place, code):
    (tmp_path / "c.yaml").write_text(f"graph: {section}\n")
    ended = run("c.yaml", place, cwd=tmp_path)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_and_mistakes_need_no_torch():
    code = f"""
import sys
from job.prepare import main
try:
    main([{MARKET!r}, "out", "graph.noise=7"])
except ValueError as error:
    print(error)
print([name for name in ("torch", "rich", "numba", "mlflow") if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
    assert run("--help").stdout.startswith("usage: python job/prepare.py CONFIG.yaml OUT_DIR")


HANG = """
import sys, time
sys.path.insert(0, {root!r})
from mtl.graphs.writer import GraphWriter
def hang(writer):
    print("half way", flush=True)
    time.sleep(600)
GraphWriter.finish = hang
from job.prepare import main
main(sys.argv[1:])
"""


def test_killed_half_way_leaves_nothing_and_the_same_command_starts_over(tmp_path, lines):
    command = [sys.executable, "-c", HANG.format(root=str(ROOT)), MARKET, str(tmp_path / "out")]
    with subprocess.Popen([*command, *SMALL], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    assert line == "half way\n"
    assert not (tmp_path / "out").exists()
    assert lines()[0].startswith("marketplace")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out.lock"}


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    now = iter(np.arange(100) * 2.0)
    monkeypatch.setattr(conversion, "monotonic", lambda: float(next(now)))
    with ConversionProgress() as report:
        for done in range(0, 100, 20):
            report("edges", done, 100)
        report("checking", 0, 0)
    said = capsys.readouterr().err.splitlines()
    assert 1 <= len(said) <= 3
    assert all(line.startswith("graph: edges: ") and " of 100" in line for line in said)


def test_what_is_quick_is_not_reported(capsys):
    with ConversionProgress() as report:
        report("edges", 50, 100)
    assert capsys.readouterr().err == ""
