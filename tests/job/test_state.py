"""A checkpoint holds all that the next step depends on, as it was when it was taken."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from job.state import TrainState, read_tensors
from mtl.balancing import Balancing, Facts
from mtl.errors import DataError

FACTS = Facts(step=0, epoch=0, present=torch.ones(2, dtype=torch.bool))


def state_of(seed, scale):
    """Return the state of a training of a linear layer; nothing of it is that of another seed."""
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    runtime = SimpleNamespace(unwrap=lambda model: model, scaler_state={"scale": scale})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 * scale)
    state = TrainState(
        model, optimizer, runtime, Balancing.read({"type": "famo"}).build(["a", "b"])
    )
    step(state)
    state.progress.step, state.progress.best_step = 10 * seed, 5 * seed
    state.progress.best_score, state.progress.evaluations_without_gain = 0.5 * seed, seed
    return state


def step(state):
    """Take a step, as the training does."""
    state.model(torch.rand(4, 3)).square().sum().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    losses = torch.rand(2).double()
    facts = Facts(step=0, epoch=0, present=FACTS.present, losses=losses)
    state.balancer.weights(facts)
    state.balancer.observe(facts)
    state.balancer.observe_again(losses / 2)


def content(state):
    """Return all that a state holds, as plain values."""
    moments = state.optimizer.state_dict()["state"]
    return {
        "weights": {name: x.tolist() for name, x in state.model.state_dict().items()},
        "moments": {i: {n: x.tolist() for n, x in its.items()} for i, its in moments.items()},
        "options": json.loads(json.dumps(state.optimizer.state_dict()["param_groups"])),
        "balancing": {name: x.tolist() for name, x in state.balancer.state().items()},
        "scaler": state.runtime.scaler_state,
        "progress": dict(vars(state.progress)),
    }


PARTS = list(content(state_of(1, 1.0)))


@pytest.mark.parametrize("part", PARTS)
def test_what_was_written_is_read_back_and_no_step_after_it(part, tmp_path):
    state, fresh = state_of(1, 2.0), state_of(2, 4.0)
    before, other = content(state)[part], content(fresh)[part]
    assert before != other
    snapshot = state.snapshot()
    step(state)
    state.progress.step += 1
    snapshot.write(tmp_path)
    fresh.read(tmp_path)
    assert content(fresh)[part] == before


def test_a_pipe_in_the_place_of_tensors_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="is no regular file"):
        read_tensors(tmp_path / "model.safetensors")
