"""Compiling: where machine code is kept, and what is said while it is made."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mtl
from mtl.loaders.samplers import _compile
from mtl.loaders.samplers.numba import NumbaSampler

NODE = "node"
RUN = """
import numpy as np
from mtl.loaders.samplers import _compile
from mtl.loaders.samplers._random import begin_state
print(_compile.CACHE, _compile.config.CACHE_DIR, begin_state(1, 2)[0])
"""


@pytest.fixture
def read_only(tmp_path: Path) -> dict[str, str]:
    """Copy the package to where no cache can be written; return its environment."""
    source = Path(mtl.__file__).parent
    shutil.copytree(source, tmp_path / "mtl", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mtl/loaders/samplers/__pycache__").touch()
    (tmp_path / "tmp").mkdir()
    nowhere = str(tmp_path / "mtl/__init__.py/home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    return kept | {
        "HOME": nowhere,
        "XDG_CACHE_HOME": nowhere,
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_where_nothing_else_can_be_written_the_code_is_kept_in_a_private_temporary_folder(
    read_only,
):
    can_cache, folder, number = run(read_only)
    assert can_cache == "True"
    assert Path(folder).parent == Path(read_only["TMPDIR"])
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert list(Path(folder).rglob("*.nbc"))
    assert run(read_only) == [can_cache, folder, number]


@pytest.mark.parametrize("trap", ["file", "open to others", "link"])
def test_a_temporary_folder_that_others_could_write_to_is_not_used(read_only, tmp_path, trap):
    folder = Path(read_only["TMPDIR"]) / f"graphmtl-numba-{os.getuid()}"
    if trap == "file":
        folder.touch()
    elif trap == "link":
        folder.symlink_to(tmp_path, target_is_directory=True)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert run(read_only)[0] == "False"


def test_after_warming_up_nothing_is_compiled(heterogeneous):
    seeds = {"user": np.arange(3), "item": np.arange(2)}
    exclude = {("user", "buys", "item"): np.array([1])}
    for options in ({"weighted": True}, {"temporal": "last"}, {"map_bytes": 60}):
        sampler = NumbaSampler(heterogeneous(0), [2, -1], **options)
        sampler.warm_up(num_threads=3, exclude=True)
        before = _compile.num_compiled()
        for key in range(2):
            sampler.sample(seeds, key, exclude=exclude)
            sampler.sample(seeds, key)
        assert _compile.num_compiled() == before


def test_slow_compiling_is_said_once_and_loading_is_not(monkeypatch, capfd):
    monkeypatch.setattr(_compile, "PATIENCE_SECONDS", 0.01)
    counts = iter([3, 3, 4, 5, 6, 7, 7, 7, 7])
    monkeypatch.setattr(_compile, "num_compiled", lambda: next(counts))
    with _compile.said_if_slow():
        time.sleep(0.3)
    assert capfd.readouterr().err == "sampler: compiling for this processor, once\n"


def test_the_name_in_the_cache_follows_from_all_compiled_sources():
    for kernel in _compile.KERNELS:
        assert kernel.py_func.__qualname__.endswith(_compile.STAMP)
