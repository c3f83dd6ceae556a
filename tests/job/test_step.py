"""One step of one process: weights and gradients are those that TorchJD finds by its own means."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torchjd.aggregation import (
    AlignedMTLWeighting,
    DualProjWeighting,
    IMTLGWeighting,
    MGDAWeighting,
    UPGrad,
    UPGradWeighting,
)
from torchjd.autojac import mtl_backward

from job.clock import Clock, CpuTimer
from job.gramian import AtRepresentation, conflicts
from job.runtime import NonFiniteError
from job.step import Stepper
from mtl.balancing import Balancing
from mtl.collective import Alone
from mtl.errors import ConfigError
from mtl.graphs.cache import open_graph
from mtl.graphs.synthetic import Synthetic
from mtl.loaders import Loader
from mtl.loaders.stream import Stream, build_stream
from mtl.models import Model
from mtl.models.encoders.sage import Sage
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks import Task
from mtl.tasks.bound import BoundTask, bind_tasks

TASKS = {
    "segment": {"type": "node_classification", "label": "segment"},
    "churn": {"type": "node_classification", "label": "churn", "weight": 2.0},
    "value": {"type": "node_regression", "label": "value"},
}
WITH = [kind for kind in Sharing.types() if Sharing.named(kind).no_representation is None]
WEIGHTINGS = {
    "upgrad": UPGradWeighting,
    "mgda": MGDAWeighting,
    "dualproj": DualProjWeighting,
    "imtl_g": IMTLGWeighting,
    "aligned_mtl": AlignedMTLWeighting,
}
EXACT = {"rtol": 1e-9, "atol": 1e-12}


class Runtime(Alone):
    """One process on the CPU, in double precision."""

    device, loss_scale, precision = torch.device("cpu"), 1.0, "fp64"

    def __init__(self):
        self.clock = Clock(CpuTimer())

    def unwrap(self, model):
        return model

    def autocast(self):
        return nullcontext()

    def accumulate(self, model, *, last):
        return nullcontext()

    def backward(self, loss):
        loss.backward()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return open_graph(
        Synthetic(num_nodes=200, avg_degree=5, num_features=8, missing=0.4, cache=cache)
    )


@pytest.fixture(scope="module")
def tasks(store) -> dict[str, BoundTask]:
    return bind_tasks({name: Task.read(options) for name, options in TASKS.items()}, store)


def stream_of(store, tasks, batch_size: int = 8) -> Stream:
    loader = Loader(num_neighbors=(3, 2), batch_size=batch_size, global_batch_size=24)
    return build_stream(loader, store, tasks, seed=1)


def model_of(store, tasks, sharing: str = "hard", dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    encoder = Sage(num_layers=2, dropout=dropout)
    model = Model(encoder=encoder, sharing=Sharing.read({"type": sharing}), dim=8)
    return build_model(model, store, tasks).double()


def stepper_of(model, store, tasks, stream: Stream, policy: str = "stop", **balancing) -> Stepper:
    options = Balancing.read(balancing)
    stepper = Stepper(model, tasks, options, Runtime(), stream, 5, policy)
    stepper.choose_memory()
    return stepper


def gradient(model: nn.Module) -> dict[str, torch.Tensor]:
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return named


def step_of(stepper: Stepper, stream: Stream, step: int = 0) -> list[tuple[Data, torch.Tensor]]:
    ((_, batches),) = stream.steps(step, step + 1)
    return list(stepper.backward(batches, step))


def task_gradients(store, tasks, sharing: str, read: str, step: int = 0) -> torch.Tensor:
    """Return, for each task, the gradient of its loss over all microbatches, [tasks, numbers].

    Taken one task and one microbatch at a time, from models that were never used before.
    """
    stream, rows = stream_of(store, tasks), []
    for i in range(len(tasks)):
        model, parts = model_of(store, tasks, sharing), []
        stepper = stepper_of(model, store, tasks, stream, type="equal")
        ((_, batches),) = stream.steps(step, step + 1)
        for batch in batches:
            loss = stepper._forward(model, batch).losses[i] * stepper._task_weights[i]
            loss.backward(retain_graph=True)
            if read == "representation":
                named = model.representation.values()
                parts += [
                    (torch.zeros_like(x) if g is None else g).flatten()
                    for x, g in zip(
                        named,
                        torch.autograd.grad(loss, list(named), allow_unused=True),
                        strict=True,
                    )
                ]
        if read == "parameters":
            parts = [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in model.bottom.parameters()
            ]
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("at", ["representation", "parameters"])
@pytest.mark.parametrize("accumulate", ["keep", "recompute"])
@pytest.mark.parametrize("sharing", WITH)
def test_the_gramian_is_that_of_gradients_taken_one_by_one(store, tasks, at, accumulate, sharing):
    stream, model = stream_of(store, tasks), model_of(store, tasks, sharing)
    stepper = stepper_of(model, store, tasks, stream, type="upgrad", at=at, accumulate=accumulate)
    step_of(stepper, stream)
    rows = task_gradients(store, tasks, sharing, at)
    torch.testing.assert_close(stepper._facts.gramian, rows @ rows.T, **EXACT)


@pytest.mark.parametrize("method", WEIGHTINGS)
@pytest.mark.parametrize("accumulate", ["keep", "recompute"])
def test_weights_and_update_are_torchjds(store, tasks, method, accumulate):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    at = "parameters"
    stepper = stepper_of(model, store, tasks, stream, type=method, at=at, accumulate=accumulate)
    step_of(stepper, stream)
    found = torch.cat([g.flatten() for n, g in gradient(model).items() if "bottom" in n])
    rows = task_gradients(store, tasks, "hard", at)
    gramian = rows @ rows.T
    weights = WEIGHTINGS[method]()(gramian / gramian.trace())
    torch.testing.assert_close(found, weights @ rows, rtol=1e-6, atol=1e-9)


def test_the_trunk_moves_as_under_torchjds_mtl_backward(store, tasks):
    stream, model = stream_of(store, tasks, batch_size=24), model_of(store, tasks)
    stepper = stepper_of(model, store, tasks, stream, type="upgrad", at="parameters")
    step_of(stepper, stream)
    found = gradient(model)
    batch = stream.loader([0])
    parts = zip(stepper._task_weights, stepper._forward(model, batch).losses, strict=True)
    losses = [weight * loss for weight, loss in parts]
    mtl_backward(losses, features=list(model.representation.values()), parallel_chunk_size=1)
    jac = {n: p.jac for n, p in model.named_parameters() if hasattr(p, "jac") and "bottom" in n}
    matrix = torch.cat([rows.flatten(1) for rows in jac.values()], 1)
    expected = torch.cat([found[name].flatten() for name in jac])
    torch.testing.assert_close(expected, UPGrad()(matrix), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", Balancing.types())
def test_keeping_graphs_is_computing_them_twice(store, tasks, method):
    options = {"static": {"weights": dict.fromkeys(TASKS, 1.0)}, "pcd": {"primary": "value"}}
    stream, found = stream_of(store, tasks), []
    kind = Balancing.named(method)
    for accumulate in ("keep", "recompute") if kind.needs != "nothing" else (None, None):
        model = model_of(store, tasks, "mmoe")
        own = {**options.get(method, {}), **({"accumulate": accumulate} if accumulate else {})}
        stepper = stepper_of(model, store, tasks, stream, type=method, **own)
        for step in range(3):
            losses = sum(part for _, part in step_of(stepper, stream, step))
            stepper.look_back()
        found.append((losses, torch.cat([g.flatten() for g in gradient(model).values()])))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sharing", Sharing.types())
def test_looking_at_conflicts_changes_nothing(store, tasks, sharing):
    found = []
    for every in (1, None):
        stream, model = stream_of(store, tasks), model_of(store, tasks, sharing)
        stepper = stepper_of(model, store, tasks, stream, type="equal", conflicts_every=every)
        step_of(stepper, stream)
        found.append(gradient(model))
        record = stepper.agreement.record()
        assert bool(record) == (every is not None and sharing in WITH)
        assert not stepper.agreement.record()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("method", [m for m in Balancing.types() if m not in ("static", "pcd")])
def test_one_task_alone_descends_its_own_gradient(store, method):
    """Whatever the method makes of its length."""
    tasks = bind_tasks({"value": Task.read(TASKS["value"])}, store)
    stream, found = stream_of(store, tasks), []
    for kind in (method, "equal"):
        model = model_of(store, tasks)
        step_of(stepper_of(model, store, tasks, stream, type=kind), stream)
        found.append(torch.cat([g.flatten() for g in gradient(model).values()]))
    cosine = torch.nn.functional.cosine_similarity(*found, dim=0)
    assert cosine.item() == pytest.approx(1, abs=1e-9)


def test_a_nan_in_one_task_stops_the_step_before_its_backward(store, tasks):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    stepper = stepper_of(model, store, tasks, stream, type="upgrad")
    with torch.no_grad():
        model.heads["churn"].linear.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="step 1: the loss of churn, or its gradient, is not"):
        step_of(stepper, stream)
    assert not gradient(model)


@pytest.mark.parametrize("method", ["equal", "upgrad", "mgda", "famo", "uncertainty"])
@pytest.mark.parametrize("accumulate", ["keep", "recompute"])
def test_a_task_without_finite_numbers_is_left_out_and_its_head_stays(
    store, tasks, method, accumulate
):
    own = {} if Balancing.named(method).needs == "nothing" else {"accumulate": accumulate}
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    stepper = stepper_of(model, store, tasks, stream, policy="skip_task", type=method, **own)
    with torch.no_grad():
        model.heads["churn"].linear.bias.fill_(float("nan"))
    step_of(stepper, stream)
    found = gradient(model)
    assert not any(g.any() for name, g in found.items() if "heads.churn" in name)
    norm = torch.cat([g.flatten() for g in found.values()]).norm()
    assert norm.isfinite()
    assert norm > 0
    assert stepper.agreement.allows(norm)
    assert stepper.agreement.record()["train/churn/not_finite_at_step"] == 1


@pytest.mark.parametrize("method", ["equal", "upgrad", "famo", "uncertainty"])
def test_a_step_without_finite_numbers_is_skipped_but_not_for_ever(store, tasks, method):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    rule = {"type": method, "conflicts_every": None}  # where no Gramian shows it, losses do
    stepper = stepper_of(model, store, tasks, stream, policy="skip_step", **rule)
    with torch.no_grad():
        model.heads["churn"].linear.bias.fill_(float("nan"))
    before = {n: x.clone() for n, x in stepper.balancer.state().items()}
    step_of(stepper, stream)
    stepper.look_back()
    after = stepper.balancer.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    bad = torch.tensor(float("nan"))
    assert [stepper.agreement.allows(bad) for _ in range(100)] == [False] * 100
    assert stepper.agreement.record()["train/skipped_steps"] == 100
    with pytest.raises(NonFiniteError, match="101 steps in a row"):
        stepper.agreement.allows(bad)


def test_a_step_of_a_gradient_that_is_no_number_is_not_made(store, tasks):
    """Though every loss was one: it came of the backward."""
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    stepper = stepper_of(model, store, tasks, stream, policy="skip_step", type="upgrad")
    step_of(stepper, stream)
    assert stepper.agreement.finite
    assert not stepper.agreement.allows(torch.tensor(float("nan")))
    assert stepper.agreement.allows(torch.tensor(1.0))


@pytest.mark.parametrize("accumulate", ["keep", "recompute"])
def test_what_is_frozen_has_no_say(store, tasks, accumulate):
    """Of mmoe with a frozen trunk the experts' outputs alone are left of the representation."""
    grams = []
    for frozen in ("bottom.trunk", "bottom.projection"):
        stream, model = stream_of(store, tasks), model_of(store, tasks, "mmoe")
        for name, parameter in model.named_parameters():
            both = frozen == "bottom.trunk" and name.startswith("bottom.projection")
            parameter.requires_grad_(not (name.startswith(frozen) or both))
        stepper = stepper_of(model, store, tasks, stream, type="upgrad", accumulate=accumulate)
        step_of(stepper, stream)
        grams.append(stepper._facts.gramian)
    assert (grams[0].diagonal() < grams[1].diagonal()).all()


def test_nothing_shared_to_train_is_refused_by_what_needs_gradients_of_it(store, tasks):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    model.bottom.requires_grad_(requires_grad=False)
    with pytest.raises(ConfigError, match=r"balancing\.type: mgda weighs gradients of what"):
        stepper_of(model, store, tasks, stream, type="mgda")
    stepper = stepper_of(model, store, tasks, stream, type="equal", conflicts_every=1)
    step_of(stepper, stream)
    assert not stepper.agreement.record()


def test_a_jacobian_that_is_too_large_is_refused_with_its_size(store, tasks):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    with pytest.raises(
        ConfigError, match=r"balancing\.at: the gradients of .* weights for each of"
    ):
        stepper_of(
            model, store, tasks, stream, type="upgrad", at="parameters", max_jacobian_gib=1e-6
        )


def test_auto_keeps_graphs_that_fit(store, tasks):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    kept = stepper_of(model, store, tasks, stream, type="upgrad")
    made_again = stepper_of(model, store, tasks, stream, type="upgrad", accumulate_bytes=1000)
    assert kept.keeps
    assert not made_again.keeps
    assert "computed forward twice" in made_again.choose_memory()
    whole = stream_of(store, tasks, batch_size=24)
    assert not stepper_of(model, store, tasks, whole, type="upgrad").choose_memory()
    stated = stepper_of(model, store, tasks, whole, type="upgrad", at="parameters")
    assert "a gradient of the shared weights for each task" in stated.choose_memory()


def test_loss_scaling_leaves_the_gramian_as_it_is(store, tasks):
    stream, model = stream_of(store, tasks), model_of(store, tasks)
    stepper = stepper_of(model, store, tasks, stream, type="equal")
    grams = []
    for scale in (1.0, 2.0**16):
        losses = stepper._forward(model, stream.loader([0])).losses
        gradients = AtRepresentation(model, len(tasks), scale)
        gradients.add(losses, [True] * len(tasks))
        grams.append(gradients.gramian())
    torch.testing.assert_close(grams[0], grams[1], rtol=1e-12, atol=0)


class Half(Runtime):
    """As accelerate computes in bfloat16."""

    precision = "bf16"

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("accumulate", ["keep", "recompute"])
@pytest.mark.parametrize("at", ["representation", "parameters"])
def test_the_gramian_in_bfloat16_is_about_that_in_double_precision(store, tasks, accumulate, at):
    stream, found = stream_of(store, tasks), []
    for runtime in (Runtime(), Half()):
        model = model_of(store, tasks, "mmoe", dropout=0.0)
        if isinstance(runtime, Half):
            model = model.float()
            model.forward = runtime.autocast()(model.forward)  # as accelerate wraps it
        options = Balancing.read({"type": "imtl_g", "accumulate": accumulate, "at": at})
        stepper = Stepper(model, tasks, options, runtime, stream, 5)
        stepper.choose_memory()
        step_of(stepper, stream)
        assert all(g.isfinite().all() for g in gradient(model).values())
        found.append(stepper._facts.gramian)
    distance = (found[1] - found[0]).norm() / found[0].norm()
    assert 0 < distance < 0.02


def test_conflicts_are_cosines_of_tasks_that_have_a_gradient():
    rows = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.0], [3.0, 3.0]]).double()
    found = conflicts(["a", "b", "c", "d"], rows @ rows.T)
    assert found["conflict/cosine/a/b"] == pytest.approx(-1)
    assert found["conflict/cosine/a/d"] == pytest.approx(0.5**0.5)
    assert found["conflict/norm/b"] == pytest.approx(2)
    assert found["conflict/share"] == pytest.approx(2 / 3)
    assert not [name for name in found if "c" in name.split("/")[2:]]
