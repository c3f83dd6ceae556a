"""Steps of made-up tasks, and what the engine does with a balancer in each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl.balancing import Balancer, Balancing, Facts

NAMES = ["a", "b", "c", "d"]
REQUIRED = {
    "static": {"weights": {"a": 1.0, "b": 2.0, "c": 0.5, "d": 3.0}},
    "pcd": {"primary": "b"},
}
Run = Callable[..., list[Tensor]]


def named(method: str, **options: Any) -> Balancing:
    return Balancing.read({"type": method, **REQUIRED.get(method, {}), **options})


def made_facts(jacobian: Tensor, **known: Any) -> Facts:
    known = {"step": 0, "epoch": 0, "present": torch.ones(len(jacobian), dtype=torch.bool), **known}
    known.setdefault("losses", torch.ones(len(jacobian), dtype=torch.float64))
    return Facts(gramian=jacobian @ jacobian.T, **known)


def random_steps(seed: int, num_steps: int = 9, num_tasks: int = len(NAMES)) -> list[Facts]:
    """Steps of three epochs; from the third one on a task may be absent or without a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    steps = []
    for step in range(num_steps):
        present = (draw(num_tasks) < 0.7) | (step < 3)
        jacobian = (draw(num_tasks, 6) - 0.4) * present[:, None] * (draw(num_tasks, 1) < 0.8)
        known = {"epoch": step // 3, "losses": (draw(num_tasks) + 0.1) * present}
        seeds = {"step": step, "generator_seed": 100 + step}
        steps.append(made_facts(jacobian, present=present, **known, **seeds))
    return steps


def weights_of_steps(
    options: Balancing, balancer: Balancer, steps: Iterable[Facts]
) -> list[Tensor]:
    """Call a balancer as the engine does; small losses fall most in an update."""
    weights = []
    for facts in steps:
        known = facts
        if options.needs != "gramian":
            known = replace(known, gramian=None)
        if options.needs == "nothing":
            known = replace(known, losses=None)
        weights.append(balancer.weights(known))
        if options.observes:
            balancer.observe(replace(facts, gramian=None))
        if options.looks_back:
            balancer.observe_again(facts.losses * (0.8 + 0.2 * facts.losses))
    return weights


@pytest.fixture(scope="session")
def read() -> Callable[..., Balancing]:
    """Options of a method, with what it requires for the tasks a, b, c and d."""
    return named


@pytest.fixture(scope="session")
def steps() -> Callable[..., list[Facts]]:
    """Random steps of a seed."""
    return random_steps


@pytest.fixture(scope="session")
def facts() -> Callable[..., Facts]:
    """The facts of a Jacobian, whose losses are 1 and whose tasks are present."""
    return made_facts


@pytest.fixture(scope="session")
def drive() -> Run:
    """Weights of a balancer in each of some steps."""
    return weights_of_steps


@pytest.fixture(scope="session")
def weigh() -> Run:
    """Weights of a method in each of some steps."""

    def call(
        method: str, steps: Iterable[Facts], names: Sequence[str] = NAMES, **options: Any
    ) -> list[Tensor]:
        chosen = named(method, **options)
        return weights_of_steps(chosen, chosen.build(names), steps)

    return call
