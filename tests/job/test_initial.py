"""A new model is set up as the configuration says."""

from pathlib import Path

import pytest
from torch import nn

from job import initial
from job.config import load
from mtl.errors import ConfigError
from mtl.models.multitask import MultiTaskModel

SMOKE = str(Path(__file__).parents[2] / "job/configs/smoke.yaml")


def test_who_has_no_compiler_is_told(monkeypatch):
    monkeypatch.setattr(initial, "COMPILERS", ("no-such-compiler",))
    model = MultiTaskModel(nn.Linear(1, 1), {})
    initial.set_up(model, load([SMOKE]))
    with pytest.raises(ConfigError, match=r"^train\.compile: .*looked for: no-such-compiler\)"):
        initial.set_up(model, load([SMOKE, "train.compile=true"]))
