"""The image: small rules that a build would not tell."""

import json
import re
import tomllib
from pathlib import Path

from launch.k8s_graph import COMPILED
from launch.pod import FOLDER, USER

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and line[0] not in "# "]
STAGES = TEXT.split("\nFROM ")[1:]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in LINES if name == instruction]


def test_it_builds_in_one_stage_and_runs_in_another():
    assert len(STAGES) == 2
    assert "build-essential" in STAGES[0]
    assert "build-essential" not in STAGES[1]
    assert set(of("FROM")) == {"${BASE_IMAGE} AS build", "${BASE_IMAGE}"}
    assert "python:3.12-slim-bookworm" in of("ARG")[0]


def test_it_runs_as_the_user_that_the_pods_name():
    assert of("USER") == [f"{USER}:{USER}"]
    assert of("WORKDIR")[-1] == FOLDER
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_a_signal_reaches_the_job_and_the_default_command_exists():
    assert json.loads(of("ENTRYPOINT")[0]) == ["tini", "-g", "--"]
    interpreter, *files = json.loads(of("CMD")[0])
    assert interpreter == "python"
    assert all((ROOT / Path(file).relative_to("/app")).is_file() for file in files)


def test_nothing_is_fetched_or_copied_that_is_not_named():
    assert of("ADD") == []
    sources = [word for line in of("COPY") if "--from" not in line for word in line.split()[:-1]]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
               if line.startswith("!")}  # fmt: skip
    assert set(sources) == allowed
    assert not any(re.search(r"TOKEN|SECRET|PASSWORD", line) for line in of("ARG") + of("ENV"))


def test_versions_are_those_of_the_project():
    torch = next(line for line in PROJECT["dependencies"] if line.startswith("torch>"))
    assert f'TORCH="{torch}"' in of("ARG")
    assert f"VERSION={PROJECT['version']}" in of("ARG")
    assert PROJECT["name"] in TEXT


def test_the_pods_find_what_the_image_compiled():
    assert f"NUMBA_CACHE_DIR={COMPILED}" in of("ENV")
    touched = TEXT.index("touch --date=")
    assert touched < TEXT.index("python /app/job/train.py")


def test_it_says_what_it_holds():
    labels = " ".join(of("LABEL"))
    for name in ("title", "description", "licenses", "version", "revision", "source"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert "cyclonedx-py environment /opt/venv/bin/python" in TEXT
