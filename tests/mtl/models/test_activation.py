"""ReLU with dropout: right on average, in its gradient, and a function of torch's seed."""

import pytest
import torch

from mtl.models.activation import Dropout, ReLUDropout


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", [Dropout, ReLUDropout])
def test_the_share_is_dropped_and_the_mean_stays(kind, share, dtype):
    torch.manual_seed(0)
    out = kind(share)(torch.ones(400, 1000).to(dtype)).double()
    assert set(out.unique().tolist()) == {0.0, out.max().item()}
    dropped = (out == 0).double().mean().item()
    assert abs(dropped - share) < 0.005  # 1/512, and three deviations
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_negative_activations_become_zero():
    h = torch.randn(100, 100)
    out = ReLUDropout(0.5)(h)
    assert (out[h < 0] == 0).all()
    kept = out != 0
    torch.testing.assert_close(out[kept], 2 * h[kept])


def test_dropout_alone_keeps_negative_numbers():
    x = torch.randn(100, 100)
    out = Dropout(0.5)(x)
    assert torch.equal(out[out != 0], 2 * x[out != 0])
    assert (out < 0).any()


def test_the_gradient_is_that_of_the_activations_that_were_kept():
    h = torch.randn(50, 7, dtype=torch.double, requires_grad=True)
    out = ReLUDropout(0.25)(h)
    out.sum().backward()
    assert torch.equal(h.grad, (out > 0).double() * 4 / 3)


def test_dropout_follows_from_torchs_seed():
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(ReLUDropout(0.5)(torch.ones(3, 5, 11)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("layer", [ReLUDropout(0.0), ReLUDropout(0.5).eval()])
def test_without_dropout_it_is_relu(layer):
    h = torch.randn(9)
    assert torch.equal(layer(h), h.relu())


def test_columns_are_dropped_independently_of_each_other():
    torch.manual_seed(0)
    out = ReLUDropout(0.5)(torch.ones(20_000, 16)) / 2
    correlation = torch.corrcoef(out.T) - torch.eye(16)
    assert correlation.abs().max() < 0.04


def test_no_activation_at_all():
    assert ReLUDropout(0.5)(torch.empty(0, 3)).shape == (0, 3)
