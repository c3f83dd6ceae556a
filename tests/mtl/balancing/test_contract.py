"""What every balancing promises: weights, absence, order, state, randomness, rough Gramians."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mtl.balancing import Balancing

TYPES = Balancing.types()
NAMES = ["a", "b", "c", "d"]
CASES = [*((name, {}) for name in TYPES), ("gradvac", {"smoothing": 0.9})]
EVERY = pytest.mark.parametrize(("method", "options"), CASES, ids=str)
METHODS = pytest.mark.parametrize("method", TYPES)
GRAMIAN = [name for name in TYPES if Balancing.named(name).needs == "gramian"]
DRAWN = {"random", "pcgrad", "gradvac"}
"""Weights that follow from a draw, or an order of the tasks that is drawn."""


def rows_of(tensor, task):
    """Return what a tensor of a state holds of a task; a matrix has it in its row and column."""
    if tensor.shape[:1] != (len(NAMES),):
        return []
    return [tensor[task], *([tensor[:, task]] if tensor.dim() == 2 else [])]


@EVERY
def test_weights_are_finite_float64_and_0_for_tasks_that_are_not_present(
    method, options, weigh, steps
):
    for facts, weights in zip(steps(1), weigh(method, steps(1), **options), strict=True):
        assert weights.dtype == torch.float64
        assert weights.shape == facts.present.shape
        assert torch.isfinite(weights).all()
        assert (weights[~facts.present] == 0).all()
        assert not weights.requires_grad


@pytest.mark.parametrize("method", GRAMIAN)
def test_a_task_without_a_gradient_weighs_0_and_the_others_what_they_weigh_without_it(
    method, weigh, facts
):
    jacobian = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    absent = torch.tensor([True, True, False, True])
    (without,) = weigh(method, [facts(jacobian, present=absent)])
    jacobian[2] = 0
    (weights,) = weigh(method, [facts(jacobian)])
    assert weights[2] == 0
    assert torch.equal(weights, without)
    assert weights.any()


@EVERY
def test_where_nothing_is_present_all_weights_are_0(method, options, weigh, facts):
    nothing = facts(torch.zeros(4, 2).double(), present=torch.zeros(4, dtype=torch.bool))
    (weights,) = weigh(method, [replace(nothing, losses=torch.zeros(4).double())], **options)
    assert torch.equal(weights, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("method", [name for name in TYPES if name not in DRAWN])
def test_the_order_of_the_tasks_does_not_matter(method, weigh, steps):
    order = torch.tensor([2, 0, 3, 1])

    def reorder(facts):
        moved = {"present": facts.present[order], "losses": facts.losses[order]}
        return replace(facts, gramian=facts.gramian[order][:, order], **moved)

    plain = torch.stack(weigh(method, steps(2)))
    moved = torch.stack(weigh(method, map(reorder, steps(2)), [NAMES[i] for i in order]))
    assert torch.allclose(moved, plain[:, order], rtol=1e-4, atol=1e-6)


@EVERY
def test_a_resumed_balancer_goes_on_with_the_same_bits(
    method, options, read, drive, steps, tmp_path
):
    chosen = read(method, **options)
    first, resumed = chosen.build(NAMES), chosen.build(NAMES)
    drive(chosen, first, steps(3)[:5])
    save_file(first.state(), tmp_path / "state.safetensors")
    resumed.load(load_file(tmp_path / "state.safetensors"))
    rest = zip(
        drive(chosen, first, steps(3)[5:]), drive(chosen, resumed, steps(3)[5:]), strict=True
    )
    assert all(torch.equal(a, b) for a, b in rest)
    assert first.state().keys() == resumed.state().keys()
    assert all(torch.equal(first.state()[name], resumed.state()[name]) for name in first.state())


@EVERY
def test_a_state_is_a_copy(method, options, read, drive, steps):
    chosen = read(method, **options)
    balancer = chosen.build(NAMES)
    drive(chosen, balancer, steps(3)[:4])
    state = balancer.state()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    drive(chosen, balancer, steps(3)[4:])
    assert all(torch.equal(state[name], kept[name]) for name in kept)


@EVERY
def test_what_is_remembered_of_a_task_stays_while_it_is_absent(method, options, read, drive, steps):
    chosen = read(method, **options)
    balancer = chosen.build(NAMES)
    drive(chosen, balancer, steps(4)[:2])
    before = balancer.state()
    facts = steps(4)[2]
    present = torch.tensor([True, False, True, True])
    gramian = facts.gramian * present * present[:, None]
    known = {"losses": facts.losses * present, "gramian": gramian, "epoch": 0}
    drive(chosen, balancer, [replace(facts, present=present, **known)])
    after = balancer.state()
    for name in before.keys() - {"before"}:  # famo's losses of the step
        pairs = zip(rows_of(before[name], 1), rows_of(after[name], 1), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed or not before


@EVERY
def test_global_random_numbers_are_left_alone(method, options, weigh, steps):
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    weigh(method, steps(5), **options)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@METHODS
def test_the_seed_of_the_step_alone_decides_what_is_drawn(method, weigh, steps):
    torch.manual_seed(1)
    first = torch.stack(weigh(method, steps(6)))
    torch.manual_seed(2)
    assert torch.equal(torch.stack(weigh(method, steps(6))), first)
    other = [replace(facts, generator_seed=7 * facts.generator_seed) for facts in steps(6)]
    assert torch.equal(torch.stack(weigh(method, other)), first) == (method not in DRAWN)


def rough_jacobians():
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    scale = torch.tensor([1e6, 1, 1, 1]).double()[:, None]
    yield "one explodes", plain * scale
    yield "one vanishes", plain / scale
    yield "all are short", plain * 1e-7
    yield "all are long", plain * 1e7
    yield "the same", plain[:1].expand(4, 6).clone()
    yield "rank 1", plain[:, :1] @ plain[:1]
    yield "nearly rank 1", plain[:, :1] @ plain[:1] + 1e-9 * plain
    yield "opposed", torch.cat([plain[:2], -plain[:2]])
    yield "nearly opposed", torch.cat([plain[:2], -plain[:2] * (1 + 1e-9)])
    yield "more tasks than directions", plain[:, :2]
    yield "orthogonal", torch.eye(4, dtype=torch.float64)


ROUGH = dict(rough_jacobians())


@pytest.mark.parametrize("method", GRAMIAN)
@pytest.mark.parametrize("kind", ROUGH)
def test_rough_gramians_have_finite_weights_without_a_warning(method, kind, weigh, facts):
    for weights in weigh(method, [facts(ROUGH[kind])] * 2):
        assert torch.isfinite(weights).all()


@METHODS
def test_losses_of_0_and_of_any_size_have_finite_weights(method, weigh, facts):
    scales = [[0] * 4, [0, 1, 2, 3], [1e9, 1, 1e-9, 0], [1e30, 1e-30, 1, 1], [0] * 4, [1] * 4]
    steps = [
        facts(torch.eye(4).double(), step=step, epoch=step, losses=torch.tensor(losses).double())
        for step, losses in enumerate(scales)
    ]
    for weights in weigh(method, steps):
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("num_tasks", [1, 2, 16])
@pytest.mark.parametrize("method", [name for name in TYPES if name not in {"static", "pcd"}])
def test_any_number_of_tasks_will_do(method, num_tasks, weigh, steps):
    names = [f"task {i}" for i in range(num_tasks)]
    for weights in weigh(method, steps(7, 3, num_tasks), names):
        assert weights.shape == (num_tasks,)
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("method", GRAMIAN)
def test_a_gramian_that_is_not_finite_is_refused(method, weigh, facts):
    with pytest.raises(AssertionError, match="not finite"):
        weigh(method, [facts(torch.tensor([[1.0, np.inf]] * 4, dtype=torch.float64))])


def test_naming_every_balancing_imports_no_torchjd_and_no_solver():
    code = (
        "import sys; from mtl.balancing import Balancing;"
        "[Balancing.named(name) for name in Balancing.types()];"
        "print({'torchjd', 'cvxpy', 'clarabel', 'ecos', 'scipy', 'qpsolvers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
