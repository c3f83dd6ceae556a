"""The container that brings the graph: whole or not at all, once for all that share a cache."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import launch.k8s_graph
from job.prepare import prepare
from launch.k8s_graph import copy, main
from mtl.errors import DataError
from mtl.graphs.cache import cache_home, open_graph
from mtl.graphs.folder import Folder
from mtl.graphs.synthetic import Synthetic


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "graph"
    prepare(Synthetic(num_nodes=50), folder)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_training_finds_what_was_converted(config, monkeypatch):
    main([str(config)])
    monkeypatch.setattr(Synthetic, "write", lambda *_: pytest.fail("converted twice"))
    open_graph(Synthetic(num_nodes=100))


def test_a_copy_is_what_was_prepared_and_the_link_leads_to_it(prepared, config, tmp_path):
    for _ in range(2):  # the same command again checks what is there
        main(["--copy", f"file://{prepared}", "--to", str(tmp_path / "link"), str(config)])
    copied = {path.name: path.read_bytes() for path in (tmp_path / "link").iterdir()}
    assert copied == {path.name: path.read_bytes() for path in prepared.iterdir()}
    assert open_graph(Folder(path=tmp_path / "link")).folder == tmp_path / "link"


def test_several_at_once_copy_once(prepared, monkeypatch):
    copies = []
    real = launch.k8s_graph._copy
    monkeypatch.setattr(launch.k8s_graph, "_copy", lambda *args: (copies.append(1), real(*args))[1])
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: copy(str(prepared), cache_home()), range(4)))
    assert (len(folders), len(copies)) == (1, 1)


def test_what_a_killed_copy_left_is_no_graph(prepared, monkeypatch):
    monkeypatch.setattr("mtl.graphs.files.check_files", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copy(str(prepared), cache_home())
    assert [p for p in cache_home().iterdir() if p.suffix not in (".partial", ".lock")] == []
    monkeypatch.undo()
    open_graph(Folder(path=copy(str(prepared), prepared.parent / "cache")))


def test_a_damaged_copy_is_refused(prepared, tmp_path, config):
    damaged = shutil.copytree(prepared, tmp_path / "damaged")
    victim = max(damaged.glob("*.npy"), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    with pytest.raises(DataError, match=victim.name):
        main(["--copy", str(damaged), "--to", str(tmp_path / "link"), str(config)])


def test_a_manifest_cannot_name_files_elsewhere(prepared, tmp_path):
    evil = shutil.copytree(prepared, tmp_path / "evil")
    manifest = evil / "graph.json"
    name = next(evil.glob("*.npy")).name
    manifest.write_text(manifest.read_text().replace(f'"{name}"', '"../stolen"'))
    with pytest.raises(DataError, match="outside the graph folder"):
        copy(str(evil), cache_home())
    assert not (cache_home() / "stolen").exists()


def test_no_graph_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no graph\.json there"):
        copy(str(tmp_path / "nowhere"), cache_home())
