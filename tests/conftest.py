"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted graphs of one test session live, and are shared, in a folder of their own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real datasets, kept beside the project; GRAPHMTL_DATA names another folder."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GRAPHMTL_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no datasets at {folder} (set GRAPHMTL_DATA)")
    return folder
