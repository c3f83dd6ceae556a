"""A graph is converted once and checked once per machine, whatever happens half way."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mtl.errors import ConfigError, DataError
from mtl.graphs import Source, convert
from mtl.graphs.cache import open_graph
from mtl.graphs.folder import Folder
from mtl.graphs.synthetic import Synthetic

CONVERT = """
import sys
from pathlib import Path
from mtl.graphs.convert import convert
from mtl.graphs.synthetic import Synthetic
convert(Synthetic(num_nodes=2000), Path(sys.argv[1]))
"""
HANG = """
import sys, time
from pathlib import Path
from mtl.graphs.convert import convert
from mtl.graphs.synthetic import Synthetic
def hang(what, done, total):
    if what.endswith(sys.argv[2]):
        print("half way", flush=True)
        time.sleep(600)
convert(Synthetic(num_nodes=2000), Path(sys.argv[1]), report=hang)
"""


def start(code: str, folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_four_processes_convert_once(tmp_path: Path) -> None:
    processes = [start(CONVERT, tmp_path / "graph") for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert sum("converting" in error for error in errors) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph", "graph.lock"]


@pytest.mark.parametrize("moment", ["features", "reading", "sorting", "checking"])
def test_killed_half_way_leaves_no_graph_and_no_lock(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "graph"
    process = start(HANG, folder, moment)
    assert process.stdout is not None
    assert process.stdout.readline() == "half way\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not folder.exists()
    assert (tmp_path / "graph.partial").exists()
    assert open_graph(Synthetic(num_nodes=2000, cache=folder)).num_nodes("node") == 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph", "graph.lock"]


@pytest.mark.parametrize("room", [0, 10_000, 100_000])
def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    folder = tmp_path / "graph"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(ConfigError, match=r"graph\.cache\): cannot be written: .*too large"):
            open_graph(Synthetic(num_nodes=2000, cache=folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.lock"]
    assert open_graph(Synthetic(num_nodes=2000, cache=folder)).num_nodes("node") == 2000


class Failing(Synthetic):
    def write(self, writer: object) -> None:
        raise DataError("row 3 is broken")


def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 3 is broken"):
        open_graph(Failing(cache=tmp_path / "graph"))
    assert [path.name for path in tmp_path.iterdir()] == ["graph.lock"]


def test_options_change_the_default_folder_but_cache_and_verify_do_not(tmp_path: Path) -> None:
    one = Synthetic(num_nodes=50)
    other = Synthetic(num_nodes=51)
    same = Synthetic(num_nodes=50, cache=tmp_path, verify="always")
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert open_graph(one).folder != open_graph(other).folder


def test_conversion_says_so_on_stderr_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        open_graph(Synthetic(num_nodes=50, cache=tmp_path / "graph"))
    assert capsys.readouterr().err.count(f"converting synthetic to {tmp_path / 'graph'}") == 1


def test_a_cache_with_another_graph_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    open_graph(Synthetic(num_nodes=50, cache=folder))
    with pytest.raises(ConfigError, match=r"graph\.cache\): holds another graph"):
        open_graph(Synthetic(num_nodes=51, cache=folder))


def test_a_cache_that_is_no_graph_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="is no graph folder"):
        open_graph(Synthetic(num_nodes=50, cache=tmp_path))
    with pytest.raises(ConfigError, match="cannot be written"):
        open_graph(Synthetic(num_nodes=50, cache=tmp_path / "thesis.tex" / "graph"))
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    assert open_graph(Synthetic(num_nodes=50, cache=tmp_path / "graph")).name == "synthetic"


def test_a_changed_array_is_found_at_the_next_start(tmp_path: Path) -> None:
    source = Synthetic(num_nodes=50, cache=tmp_path / "graph")
    path = open_graph(source).folder / "node.node.features.npy"
    flip_last_byte(path)
    with pytest.raises(DataError, match=r"SHA-256 is (.|\n)*Delete .* to convert the graph again"):
        open_graph(source)


def test_a_checked_folder_is_not_read_again_unless_always(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(convert, "validate", lambda folder, report: read.append(folder))
    for verify in ("once", "once", "always", "once"):
        open_graph(Folder(path=small, verify=verify))
    assert len(read) == 2
    (small / "node.user.features.npy").touch()
    open_graph(Folder(path=small))
    assert len(read) == 3


def test_a_folder_that_fails_is_not_remembered(small: Path) -> None:
    flip_last_byte(small / "node.user.features.npy")
    for _ in range(2):
        with pytest.raises(DataError, match="SHA-256"):
            open_graph(Folder(path=small))


def test_a_folder_is_never_written_to(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [small, *small.iterdir()]}
    time.sleep(0.01)
    assert open_graph(Folder(path=small)).name == "small"
    assert {path: path.stat().st_mtime_ns for path in [small, *small.iterdir()]} == before


def test_a_home_that_cannot_be_written_still_opens_a_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_graph(Folder(path=small)).num_nodes("user") == 6


def test_types_are_the_source_modules_alone() -> None:
    assert {"synthetic", "planetoid", "folder"} <= set(Source.types())
    for name in Source.types():
        assert issubclass(Source.named(name), Source)


def test_sources_need_no_torch() -> None:
    code = "import sys, mtl.graphs.convert\nfrom mtl.graphs import Source\n"
    code += "[Source.named(name) for name in Source.types()]\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        open_graph(Synthetic(num_nodes=500, cache=folder))
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert one == two
    other = open_graph(Synthetic(num_nodes=500, seed=1)).features("node")
    assert not np.array_equal(other, np.load(tmp_path / "one" / "node.node.features.npy"))
