"""Weights are those of TorchJD's own objects on the same steps, where TorchJD's are right."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd import aggregation, scalarization

NAMES = [f"task {i}" for i in range(8)]
WEIGHTINGS = {
    "upgrad": aggregation.UPGradWeighting,
    "dualproj": aggregation.DualProjWeighting,
    "mgda": aggregation.MGDAWeighting,
    "pcgrad": aggregation.PCGradWeighting,
    "imtl_g": aggregation.IMTLGWeighting,
    "aligned_mtl": aggregation.AlignedMTLWeighting,
    "gradvac": aggregation.GradVacWeighting,
    "pcd": aggregation.PCDWeighting,
    "cagrad": lambda: aggregation.CAGradWeighting(0.5),
    "fairgrad": lambda: aggregation.FairGradWeighting(1.0),
}
FROM_COSINES = {"fairgrad"}
"""Where lengths are taken out first, as TorchJD's solver needs them about 1: compared there."""
FEW = settings(max_examples=10)
SEEDS = st.integers(0, 10_000)
NUM_TASKS = st.integers(2, 8)


def jacobians(seed, num_tasks, method="", num_steps=4):
    """Random gradients with conflicts, and more directions than tasks."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_steps, num_tasks, num_tasks + 4)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    if method in FROM_COSINES:
        return torch.nn.functional.normalize(drawn, dim=2)
    return drawn * (1 + 9 * torch.rand(*shape[:2], 1, generator=generator, dtype=torch.float64))


def losses_of(seed, num_tasks, num_steps=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_steps, num_tasks, generator=generator, dtype=torch.float64) * 3 + 0.01


def derivative(scalarizer, losses):
    losses = losses.clone().requires_grad_()
    scalarizer(losses).backward()
    return losses.grad


def close(ours, theirs, tolerance=1e-6):
    return torch.allclose(torch.stack(ours), torch.stack(theirs), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", WEIGHTINGS)
@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS)
def test_weights_of_gramians_are_torchjds(method, seed, num_tasks, weigh, facts):
    names, weighting, theirs = NAMES[:num_tasks], WEIGHTINGS[method](), []
    steps = [facts(j, generator_seed=i) for i, j in enumerate(jacobians(seed, num_tasks, method))]
    for i, step in enumerate(steps):
        torch.manual_seed(i)
        theirs.append(weighting(step.gramian))
    options = {"primary": names[0]} if method == "pcd" else {}
    assert close(weigh(method, steps, names, **options), theirs)


@pytest.mark.parametrize("every", [1, 3])
@settings(max_examples=3)
@given(seed=SEEDS, num_tasks=st.integers(2, 4))
def test_nash_mtl_bargains_as_torchjd_does_at_length_1(every, seed, num_tasks, weigh, facts):
    steps = list(map(facts, jacobians(seed, num_tasks, "fairgrad", num_steps=4)))
    weighting = aggregation.NashMTL(num_tasks, update_weights_every=every).weighting
    with pytest.warns(UserWarning, match="DPP|inaccurate"):
        theirs = [weighting(torch.linalg.cholesky(step.gramian)) for step in steps]
    options = {"update_weights_every": every}
    assert close(weigh("nash_mtl", steps, NAMES[:num_tasks], **options), theirs, 1e-4)


@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS)
def test_smoothed_weights_are_those_of_cr_mogm(seed, num_tasks, weigh, facts):
    steps = list(map(facts, jacobians(seed, num_tasks)))
    smoothed = aggregation.CRMOGMWeighting(aggregation.MGDAWeighting(), alpha=0.9)
    theirs = [smoothed(step.gramian) for step in steps]
    assert close(weigh("mgda", steps, NAMES[:num_tasks], smoothing=0.9), theirs)


@pytest.mark.parametrize("method", ["upgrad", "dualproj", "aligned_mtl"])
def test_a_preference_is_torchjds_pref_vector_among_the_tasks_with_a_gradient(method, weigh, facts):
    wanted = torch.tensor([0.1, 0.7, 2.0, 0.5], dtype=torch.float64)
    (jacobian,) = jacobians(3, 4, num_steps=1)
    rows = torch.tensor([0, 1, 3])
    jacobian[2] = 0
    preference = dict(zip(NAMES[:4], wanted.tolist(), strict=True))
    (ours,) = weigh(method, [facts(jacobian)], NAMES[:4], preference=preference)
    weighting = WEIGHTINGS[method](pref_vector=wanted[rows])
    theirs = weighting(jacobian[rows] @ jacobian[rows].T)
    assert torch.allclose(ours[rows], theirs, atol=1e-6)
    assert not torch.allclose(theirs, WEIGHTINGS[method]()(jacobian[rows] @ jacobian[rows].T))


def test_the_preference_of_stch_is_torchjds_among_the_tasks_that_are_present(weigh, facts):
    wanted, losses = torch.tensor([[0.1, 0.7, 2.0, 0.5], [3, 1, 0, 2]], dtype=torch.float64)
    rows = torch.tensor([0, 1, 3])
    present = torch.tensor([True, True, False, True])
    preference = dict(zip(NAMES[:4], wanted.tolist(), strict=True))
    step = facts(torch.eye(4).double(), losses=losses, present=present)
    (ours,) = weigh("stch", [step], NAMES[:4], preference=preference)
    theirs = derivative(scalarization.STCH(0.1, weights=wanted[rows]), losses[rows])
    assert torch.allclose(ours[rows], theirs)


@pytest.mark.parametrize(
    ("method", "scalarizer"),
    [("geometric_mean", scalarization.GeometricMean()), ("stch", scalarization.STCH(0.1))],
)
@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS)
def test_weights_of_losses_are_the_derivative_of_torchjds_scalarizer(
    method, scalarizer, seed, num_tasks, weigh, facts
):
    eye = torch.eye(num_tasks, dtype=torch.float64)
    steps = [facts(eye, losses=losses) for losses in losses_of(seed, num_tasks)]
    theirs = [derivative(scalarizer, step.losses) for step in steps]
    assert close(weigh(method, steps, NAMES[:num_tasks]), theirs, 1e-12)


@pytest.mark.parametrize(
    ("method", "scalarizer"), [("uncertainty", scalarization.UW), ("imtl_l", scalarization.IMTLL)]
)
@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS)
def test_learned_scales_are_torchjds_under_torchs_adam(
    method, scalarizer, seed, num_tasks, weigh, facts
):
    made, theirs = scalarizer(num_tasks).double(), []
    adam = torch.optim.Adam(made.parameters(), lr=0.05)
    steps = [facts(torch.eye(num_tasks).double(), losses=x) for x in losses_of(seed, num_tasks)]
    for step in steps:
        adam.zero_grad()
        theirs.append(derivative(made, step.losses))
        adam.step()
    assert close(weigh(method, steps, NAMES[:num_tasks], lr=0.05), theirs, 1e-9)


@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS, weight_decay=st.sampled_from([0.0, 1e-3, 1.0]))
def test_famo_is_torchjds(seed, num_tasks, weight_decay, weigh, facts):
    made, theirs = scalarization.FAMO(num_tasks, weight_decay=weight_decay).double(), []
    steps = [facts(torch.eye(num_tasks).double(), losses=x) for x in losses_of(seed, num_tasks)]
    for step in steps:
        theirs.append(derivative(made, step.losses))
        made.update(step.losses * (0.8 + 0.2 * step.losses))
    assert close(weigh("famo", steps, NAMES[:num_tasks], weight_decay=weight_decay), theirs, 1e-9)


@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS, temperature=st.sampled_from([0.5, 2.0]))
def test_dwa_is_torchjds_over_epochs_of_three_steps(seed, num_tasks, temperature, weigh, facts):
    made, theirs = scalarization.DWA(temperature), []
    eye = torch.eye(num_tasks, dtype=torch.float64)
    steps = [facts(eye, losses=x, epoch=i // 3) for i, x in enumerate(losses_of(seed, num_tasks))]
    for i, step in enumerate(steps):
        if i % 3 == 0:
            made.step()
        theirs.append(derivative(made, step.losses))
    assert close(weigh("dwa", steps, NAMES[:num_tasks], temperature=temperature), theirs, 1e-12)


@FEW
@given(seed=SEEDS, num_tasks=NUM_TASKS)
def test_random_weights_are_torchjds(seed, num_tasks, weigh, facts):
    torch.manual_seed(seed)
    theirs = aggregation.RandomWeighting()(torch.zeros(num_tasks, 1, dtype=torch.float64))
    step = replace(facts(torch.eye(num_tasks).double()), generator_seed=seed)
    assert close(weigh("random", [step], NAMES[:num_tasks]), [theirs], 0)
