"""Microbatches of a step add up to the step, whatever labels are missing where."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mtl.loaders import Loader
from mtl.loaders.stream import build_stream
from mtl.models import Model
from mtl.models.encoders import Encoder
from mtl.models.multitask import build_model
from mtl.models.sharing import Sharing
from mtl.tasks.losses import task_losses

STEP = 24


def model_of(customers, tasks, encoder, sharing):
    torch.manual_seed(0)
    options = Encoder.read({"type": encoder, "num_layers": 2, "dropout": 0.0})
    model = Model(encoder=options, sharing=Sharing.read({"type": sharing}), dim=8)
    return build_model(model, customers, tasks).double()


def gradient(model, stream, tasks, step):
    """Return losses and gradient of one step over all of its microbatches."""
    model.zero_grad()
    ((_, batches),) = stream.steps(step, step + 1)
    losses = torch.zeros(len(tasks)).double()
    for batch in batches:
        parts = task_losses(model(batch), batch, tasks)
        parts.mean().backward()
        losses += parts.detach()
    trained = [p.grad.flatten() for p in model.parameters() if p.requires_grad]
    return losses, torch.cat(trained)


@pytest.mark.parametrize("batch_size", [1, 5, 7, 23])
@pytest.mark.parametrize(("encoder", "sharing"), [("sage", "hard"), ("gcn", "mimo")])
def test_a_step_in_parts_is_the_step_in_one(customers, tasks, batch_size, encoder, sharing):
    model = model_of(customers, tasks, encoder, sharing)
    options = {"num_neighbors": (-1, -1), "global_batch_size": STEP}
    whole = build_stream(Loader(batch_size=STEP, **options), customers, tasks)
    parts = build_stream(Loader(batch_size=batch_size, **options), customers, tasks)
    for step in (0, whole.order.steps_per_epoch - 1):
        wanted_losses, wanted = gradient(model, whole, tasks, step)
        losses, found = gradient(model, parts, tasks, step)
        torch.testing.assert_close(losses, wanted_losses, atol=0, rtol=1e-10)
        assert (found - wanted).norm() <= 1e-10 * wanted.norm()


def test_the_loss_is_the_mean_over_all_labels_of_the_step(customers, tasks):
    model = model_of(customers, tasks, "sage", "hard")
    options = {"num_neighbors": (-1, -1), "global_batch_size": STEP}
    parts = build_stream(Loader(batch_size=5, **options), customers, tasks)
    losses = dict(zip(tasks, gradient(model, parts, tasks, 0)[0], strict=True))
    (whole,) = build_stream(Loader(batch_size=STEP, **options), customers, tasks).microbatches([0])
    logits, target = model(whole)["segment"], whole.target["segment"]
    torch.testing.assert_close(losses["segment"], F.cross_entropy(logits, target).detach())
    logits, target = model(whole)["interests"], whole.target["interests"]
    known = target >= 0
    mean = F.binary_cross_entropy_with_logits(logits[known], target[known].double()).detach()
    torch.testing.assert_close(losses["interests"], mean)
