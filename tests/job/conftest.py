"""Fixtures of the job's tests."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job.mlflow_store import open_client


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making its tables takes seconds, so once a session.

    Two make it at once, as two jobs do that start in a new folder.
    """
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with ThreadPoolExecutor(2) as jobs:
        for client in jobs.map(open_client, [f"sqlite:///{path}"] * 2):
            assert [e.name for e in client.search_experiments()] == ["Default"]
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """URI of an MLflow database of this test alone."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"
