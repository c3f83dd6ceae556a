"""One kernel draws what many do: interpreted here, and compiled for cards that are not here."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("fused_worker.py")
TRITON = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def run(what: str, tmp_path: Path) -> list[int]:
    """Run it in a process of its own: Triton is interpreted or not from its import on."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment["TRITON_INTERPRET"] = str(int(what != "compile"))
    command = [sys.executable, "-W", "error::RuntimeWarning", str(WORKER), what]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [*map(int, ended.stdout.split())]


@TRITON
def test_one_kernel_draws_the_edges_that_many_draw(tmp_path):
    (num_edges,) = run("draw", tmp_path)
    assert num_edges > 10_000


@TRITON
def test_it_compiles_for_cards_from_turing_to_blackwell(tmp_path):
    (num_bytes,) = run("compile", tmp_path)
    assert num_bytes > 10_000


@TRITON
def test_a_sample_asks_for_less_than_half_of_the_operations(tmp_path):
    fused, not_fused = run("count", tmp_path)
    assert fused < 0.4 * not_fused
