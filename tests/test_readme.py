"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

from job.config import load, read
from job.yaml12 import parse
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    """Return the one code block of a language that holds some words."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
    (found,) = [text for kind, text in blocks if kind == language and holding in text]
    return found


def test_the_notebook_trains():
    names: dict[str, object] = {}
    exec(compile(block("python", "open_graph"), "README.md", "exec"), names)
    loss = names["task_losses"](names["model"](names["batch"]), names["batch"], names["tasks"])
    assert loss.sum() < 2 * 2.08  # two tasks; log(8) nats are what guessing one of 8 costs


def test_the_yaml_is_a_configuration():
    config = read(parse(block("yaml", "tasks:"), "README.md"), [])
    assert list(config.tasks) == ["topic", "degree", "words"]


def test_the_mistake_is_answered_in_these_words():
    shown = block("", "$ python job/train.py my.yaml")
    command, _, answer = shown.partition("\n")
    path = str(ROOT / "job" / "configs" / "cora_mimo.yaml")
    with pytest.raises(ConfigError) as error:
        load([path, *command.split()[4:]])
    assert f"error: {error.value}" == answer.strip()


def test_every_file_that_is_linked_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_shown_command_is_there():
    scripts = set(re.findall(r"(?<!/)(?:job|launch)/\w+\.(?:py|yaml)", README))
    assert len(scripts) > 4
    assert [script for script in scripts if not (ROOT / script).exists()] == []
