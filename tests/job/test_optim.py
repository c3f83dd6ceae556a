"""The update of a GPU is that of the CPU, and goes on where the other was saved."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from job.config import Optim
from job.optim import build_optimizer
from job.runtime import Runtime
from job.state import TrainState
from mtl.balancing.equal import Equal

PLACES = {kind: torch.device(kind) for kind in ("cpu", "cuda")}
"""Nothing is moved there: torch's fused kernels exist for the CPU, too."""


def begun(algorithm: str, kind: str) -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    options = Optim(algorithm=algorithm, lr=0.01, weight_decay=0.1)
    optimizer = build_optimizer(options, model, PLACES[kind])
    runtime = SimpleNamespace(unwrap=lambda model: model, scaler_state={})
    return TrainState(model, optimizer, runtime, Equal().build(["a"]))


def go_on(state: TrainState, num_steps: int) -> torch.Tensor:
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    for _ in range(num_steps):
        state.model(x).square().sum().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
    return nn.utils.parameters_to_vector(state.model.parameters()).detach()


@pytest.mark.parametrize("algorithm", ["adamw", "adam", "sgd"])
def test_the_fused_update_is_the_plain_one(algorithm):
    plain, fused = (go_on(begun(algorithm, kind), 20) for kind in PLACES)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["adamw", "sgd"])
@pytest.mark.parametrize("kinds", [("cpu", "cuda"), ("cuda", "cpu")])
def test_what_one_saved_the_other_continues_in_its_own_way(algorithm, kinds, tmp_path):
    first, second = (begun(algorithm, kind) for kind in kinds)
    go_on(first, 10)
    first.snapshot().write(tmp_path)
    second.read(tmp_path)
    assert second.optimizer.param_groups[0]["fused"] is (True if kinds[1] == "cuda" else None)
    torch.testing.assert_close(go_on(second, 10), go_on(first, 10), rtol=1e-4, atol=1e-6)


def test_a_step_that_was_skipped_does_not_stand_in_the_way_of_the_next():
    state, scaler = begun("sgd", "cpu"), torch.amp.GradScaler("cpu")
    runtime = Runtime.__new__(Runtime)
    runtime._accelerator = SimpleNamespace(scaler=scaler)
    for _ in range(2):
        scaler.scale(state.model(torch.ones(1, 5)).sum()).backward()
        scaler.unscale_(state.optimizer)  # as clipping does
        runtime.skip_step()
