"""What is said of single methods: values by hand, what they do not change, and what they refuse."""

from math import sqrt

import pytest
import torch

from mtl.balancing._adam import Adam
from mtl.balancing._gramians import OfGramian, Weighted
from mtl.errors import ConfigError

NAMES = ["a", "b", "c", "d"]
CONFLICT = [[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]
ORTHOGONAL = [[1.0, 0.0], [0.0, 2.0]]
GOLDEN = [
    ("upgrad", CONFLICT, {}, [1.1109, 0.7894]),  # TorchJD's documentation
    ("pcgrad", CONFLICT, {}, [1 + 22 / 18, 1 + 22 / 38]),
    ("mgda", ORTHOGONAL, {}, [4 / 5, 1 / 5]),
    ("imtl_g", ORTHOGONAL, {}, [2 / 3, 1 / 3]),
    ("nash_mtl", ORTHOGONAL, {}, [1 / sqrt(2), 1 / sqrt(8)]),
    ("nash_mtl", ORTHOGONAL, {"max_norm": 0}, [1, 1 / 2]),
    ("fairgrad", ORTHOGONAL, {"alpha": 0}, [1 / 2, 1 / 2]),
    ("fairgrad", ORTHOGONAL, {"alpha": 1}, [1, 1 / 2]),
    ("fairgrad", ORTHOGONAL, {"alpha": 2}, [1, 2 ** (-4 / 3)]),
    ("aligned_mtl", ORTHOGONAL, {}, [1 / 2, 1 / 4]),
    ("aligned_mtl", ORTHOGONAL, {"scale_mode": "rmse"}, [sqrt(2.5) / 2, sqrt(2.5) / 4]),
    ("cagrad", ORTHOGONAL, {"c": 0}, [1 / 2, 1 / 2]),
    ("gradnorm", CONFLICT, {}, [1, 1]),
]
SCALE_FREE = ["upgrad", "dualproj", "mgda", "pcgrad", "cagrad", "imtl_g", "aligned_mtl", "gradvac"]
DUPLICATES = ["upgrad", "dualproj", "cagrad", "imtl_g", "aligned_mtl", "nash_mtl"]
DUPLICATES += ["fairgrad", "gradnorm"]


def random_jacobian(seed=0, num_tasks=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tasks, num_tasks + 4, generator=generator, dtype=torch.float64)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("method", "jacobian", "options", "expected"), GOLDEN)
def test_weights_by_hand(method, jacobian, options, expected, weigh, facts):
    (weights,) = weigh(method, [facts(doubles(*jacobian))], NAMES[:2], **options)
    assert torch.allclose(weights, doubles(*expected), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "each"), [("pcgrad", 1), ("upgrad", 1 / 4), ("dualproj", 1 / 4)]
)
def test_gradients_without_conflict_are_left_as_they_are(method, each, weigh, facts):
    (weights,) = weigh(method, [facts(random_jacobian().abs())])
    assert torch.allclose(weights, torch.full_like(weights, each), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
@pytest.mark.parametrize("method", SCALE_FREE)
def test_the_length_of_all_gradients_together_does_not_matter(method, scale, weigh, facts):
    (weights,) = weigh(method, [facts(random_jacobian())])
    (scaled,) = weigh(method, [facts(random_jacobian() * scale)])
    assert torch.allclose(scaled, weights, atol=1e-6)
    assert len(weights.unique()) > 1 or method == "dualproj"


@pytest.mark.parametrize(
    ("method", "spread"), [("nash_mtl", 1e6), ("fairgrad", 1e6), ("imtl_g", 1e3)]
)
def test_the_update_does_not_depend_on_the_scales_of_the_losses(method, spread, weigh, facts):
    scales = doubles(1, spread, 1 / spread, 3)
    (weights,) = weigh(method, [facts(random_jacobian())])
    (scaled,) = weigh(method, [facts(random_jacobian() * scales[:, None])])
    update = scaled * scales
    if method == "imtl_g":  # its weights sum to 1
        update = update / update.sum()
    assert torch.allclose(update, weights, rtol=1e-3)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_fairgrad_solves_its_equation_whatever_the_lengths(alpha, weigh, facts):
    step = facts(random_jacobian() * doubles(1e6, 1, 1e-3, 1)[:, None])
    (weights,) = weigh("fairgrad", [step], alpha=alpha)
    progress = step.gramian @ weights
    assert torch.allclose(progress, weights ** (-1 / alpha), rtol=1e-4)


@pytest.mark.parametrize("method", DUPLICATES)
def test_the_same_task_twice_has_the_same_weight_twice(method, weigh, facts):
    jacobian = random_jacobian()
    jacobian[1] = jacobian[0]
    (weights,) = weigh(method, [facts(jacobian)])
    assert torch.isclose(weights[0], weights[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        *((name, 1) for name in ("upgrad", "dualproj", "mgda", "pcgrad", "gradvac", "imtl_g")),
        *((name, 1) for name in ("aligned_mtl", "gradnorm", "geometric_mean", "stch", "famo")),
        *((name, 1) for name in ("random", "dwa", "imtl_l")),
        ("pcd", 1),
        ("equal", 1 / 4),
        ("static", 2),
        ("uncertainty", 1 / 2),
        ("cagrad", 1.5),
        ("nash_mtl", 1 / 3),
        ("fairgrad", 1 / 3),
    ],
)
def test_the_weight_of_a_task_that_is_alone(method, expected, weigh, facts):
    alone = torch.tensor([False, True, False, False])
    jacobian = torch.zeros(4, 2, dtype=torch.float64)
    jacobian[1, 0] = 3
    (weights,) = weigh(method, [facts(jacobian, present=alone, losses=1.0 * alone.double())])
    assert torch.allclose(weights, expected * alone.double(), atol=1e-6)


def test_pcd_follows_the_primary_task_and_averages_the_others_without_it(weigh, facts):
    jacobian = torch.eye(4, dtype=torch.float64) * doubles(1, 2, 3, 4)
    jacobian[0] = -jacobian[1] / 2
    everything, (without,) = (
        weigh("pcd", [facts(jacobian, present=torch.tensor(present))], primary="b", tau=0)
        for present in ([True] * 4, [True, False, True, True])
    )
    assert torch.allclose(everything[0] @ jacobian, torch.zeros(4).double(), atol=1e-6)
    assert torch.allclose(without, doubles(1, 0, 1, 1) / 3)
    (free,) = weigh("pcd", [facts(jacobian[[2, 1, 3]])], NAMES[:3], primary="b", tau=0)
    assert torch.allclose(free, doubles(0, 1, 0))


def test_pcd_counts_the_steps_of_each_task(weigh, facts):
    jacobian, beta = random_jacobian(), 0.9
    late = [facts(jacobian, present=torch.tensor([True, True, True, False]))] * 20
    (*_, weights) = weigh("pcd", [*late, facts(jacobian)], beta=beta)
    (*_, settled) = weigh("pcd", [facts(jacobian)] * 3, beta=beta)
    assert torch.allclose(weights, settled)


def test_gradnorm_is_chens_algorithm_by_autograd(weigh, facts):
    generator = torch.Generator().manual_seed(1)
    losses = torch.rand(30, 4, generator=generator, dtype=torch.float64) + 0.1
    steps = [facts(random_jacobian(i), losses=step) for i, step in enumerate(losses)]
    learned, expected = torch.ones(4, dtype=torch.float64, requires_grad=True), []
    adam = torch.optim.Adam([learned], lr=0.1)
    for step in steps:
        expected.append(learned.detach().clone())
        lengths = learned * step.gramian.diagonal().sqrt()
        ratios = step.losses / steps[0].losses
        goal = lengths.mean() * (ratios / ratios.mean()) ** 1.5
        adam.zero_grad()
        (lengths - goal.detach()).abs().sum().backward()
        adam.step()
        with torch.no_grad():
            learned *= 4 / learned.sum()
    weights = torch.stack(weigh("gradnorm", steps, lr=0.1))
    assert torch.allclose(weights, torch.stack(expected), atol=1e-9)
    assert weights.std() > 0.1


def test_gradnorms_weights_stay_above_0_and_sum_to_the_number_of_tasks(weigh, facts):
    jacobian = random_jacobian() * doubles(1e3, 1, 1, 1e-3)[:, None]
    (*_, last) = weigh("gradnorm", [facts(jacobian)] * 100, lr=0.5)
    assert (last > 0).all()
    assert torch.isclose(last.sum(), doubles(4).squeeze())


def test_a_task_that_misses_an_epoch_keeps_its_last_two_in_dwa(weigh, facts):
    eye, everything = torch.eye(2, dtype=torch.float64), torch.tensor([True, True])
    second = torch.tensor([False, True])
    epochs = [(everything, (4, 8)), (everything, (2, 8)), (second, (0, 4)), (everything, (1, 1))]
    steps = [
        facts(eye, epoch=epoch, present=present, losses=doubles(*losses))
        for epoch, (present, losses) in enumerate(epochs)
    ]
    (*_, weights) = weigh("dwa", steps, NAMES[:2], temperature=1)
    assert torch.allclose(weights, 2 * doubles(2 / 4, 4 / 8).softmax(0))


def test_a_loss_of_0_leaves_the_weights_of_the_others_alone(weigh, facts):
    eye, absent = torch.eye(4, dtype=torch.float64), torch.tensor([True, True, True, False])
    for method in ("geometric_mean", "famo"):
        with_zero = facts(eye, losses=doubles(1, 2, 3, 0))
        without = facts(eye, losses=doubles(1, 2, 3, 0), present=absent)
        (weights,), (expected,) = weigh(method, [with_zero]), weigh(method, [without])
        assert torch.equal(weights, expected)
        assert weights[:3].all()


@pytest.mark.parametrize("method", ["uncertainty", "imtl_l"])
def test_a_loss_of_0_does_not_drive_a_learned_scale_away(method, weigh, facts):
    solved = facts(torch.eye(4).double(), losses=doubles(1, 2, 3, 0))
    first, *_, last = weigh(method, [solved] * 100, lr=0.1)
    assert last[3] == first[3]
    assert torch.allclose(last[:3] / last[0], doubles(1, 1 / 2, 1 / 3), rtol=0.1)


def test_each_number_under_adam_moves_as_if_it_were_alone():
    gradients = random_jacobian(2)[:, :6].T
    ours, lr = Adam(torch.zeros(4, dtype=torch.float64), 0.1, weight_decay=0.2), 0.1
    theirs = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    adam = torch.optim.Adam(theirs, lr=lr, weight_decay=0.2)
    for step, gradient in enumerate(gradients):
        rows = torch.tensor([i for i in range(4) if (i + step) % 3])
        ours.step(gradient[rows], rows)
        for i, number in enumerate(theirs):
            number.grad = gradient[i : i + 1].clone() if i in rows else None
        adam.step()
    assert torch.allclose(ours.value, torch.cat(theirs), atol=1e-12)


class Failing(OfGramian):
    """Remembers a step, and then fails in every second one."""

    def __init__(self):
        self.seen = torch.zeros(4)
        super().__init__(seen=self.seen)

    def weigh(self, gramian, rows, facts):
        self.seen[rows] += 1
        if facts.step % 2 == 0:
            raise ZeroDivisionError("no solution")
        return gramian.diagonal()


def test_a_solver_that_fails_is_said_once_and_the_tasks_of_the_step_weigh_alike(facts):
    balancer, present = Failing(), torch.tensor([True, True, False, True])
    jacobian = torch.eye(4, dtype=torch.float64) * 2
    with pytest.warns(RuntimeWarning, match=r"step 0: ZeroDivisionError: no solution") as warned:
        first, second, third = (
            balancer.weights(facts(jacobian, step=step, present=present)) for step in range(3)
        )
    assert len(warned) == 1
    assert torch.equal(first, doubles(1, 1, 0, 1) / 3)
    assert torch.equal(second, doubles(4, 4, 0, 4))
    assert torch.equal(third, first)
    assert balancer.seen.tolist() == [1, 1, 0, 1]


def test_weights_that_are_not_finite_are_a_failure(facts):
    balancer = Weighted(lambda gramian: gramian[0] / 0)
    with pytest.warns(RuntimeWarning, match="not finite"):
        weights = balancer.weights(facts(random_jacobian()))
    assert torch.equal(weights, torch.full((4,), 1 / 4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("static", {"weights": {"a": 1, "b": 1}}, r"balancing.weights: nothing for the task c, d"),
        (
            "static",
            {"weights": dict.fromkeys(["a", "b", "c", "dd"], 1)},
            r"balancing.weights.dd: there is no task 'dd'; did you mean 'd'\? \(tasks: a, b",
        ),
        ("upgrad", {"preference": {"x": 1}}, r"balancing.preference.x: there is no task 'x'"),
        ("stch", {"preference": {"a": 1}}, r"balancing.preference: nothing for the task b, c, d"),
        ("pcd", {"primary": "e"}, r"balancing.primary: there is no task 'e' \(tasks: a, b, c, d\)"),
    ],
)
def test_options_that_name_other_tasks_are_refused(method, options, message, read):
    with pytest.raises(ConfigError, match=message):
        read(method, **options).build(NAMES)


@pytest.mark.parametrize(
    ("method", "library", "message"),
    [
        ("cagrad", "clarabel", "cagrad needs cvxpy and clarabel: pip install cvxpy clarabel"),
        ("nash_mtl", "ecos", "nash_mtl needs cvxpy and ecos: pip install cvxpy ecos"),
        ("fairgrad", "scipy", "fairgrad needs scipy: pip install scipy"),
    ],
)
def test_a_method_whose_library_is_missing_is_refused(method, library, message, read, monkeypatch):
    monkeypatch.setattr(
        "mtl.balancing._names.find_spec", lambda name: None if name == library else name
    )
    with pytest.raises(ConfigError, match=f"balancing.type: {message}"):
        read(method).build(NAMES)
