"""Three processes, the last of which is late: who waits for it, and do gradients stay the same?

usage: python straggler.py OUT_DIR LATE_SECONDS   (writes OUT_DIR/straggler.RANK.json)
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from forked import run_forked
from torch import Tensor, nn

from job.clock import PARTS
from job.replicas import ReplicasDifferError, check_replicas
from job.runtime import Runtime

WORLD_SIZE, LATE_SECONDS = 3, float(sys.argv[2])


class Late(torch.autograd.Function):
    """The identity, whose gradient comes late."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient after a while."""
        time.sleep(LATE_SECONDS)
        return grad


def run_rank(out: Path) -> None:
    """Take the same gradient with and without the clock; then one that the last process delays."""
    with Runtime("fp32") as runtime:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3))
        model, _ = runtime.prepare(net, torch.optim.SGD(net.parameters(), lr=1.0))
        x = torch.randn(7 + runtime.rank, 5, generator=torch.Generator().manual_seed(runtime.rank))
        runtime.backward(model(x).square().sum() * 0)  # as warm_up does
        clocked = gradient(model, lambda loss: runtime.backward(loss), x)
        plain = gradient(model, lambda loss: loss.backward(), x)
        sums = accumulated(model, runtime, x)
        runtime.clock.take()
        late = Late.apply if runtime.rank == WORLD_SIZE - 1 else lambda x: x
        gradient(model, lambda loss: runtime.backward(loss), x, late)
        seconds: dict[str, Any] = dict(zip(PARTS, runtime.clock.take(), strict=True))
        same = all(torch.equal(a, b) for a, b in zip(clocked, plain, strict=True))
        drift = {"before": replicas(net, runtime, 100)}
        with torch.no_grad():
            if runtime.rank == WORLD_SIZE - 1:
                bits = net[2].bias.view(torch.int32)
                bits[1] ^= 1
        drift |= {"between": replicas(net, runtime, 199), "after": replicas(net, runtime, 200)}
        seconds |= {"drift": drift}
        found = {"same": same, "sum": size(clocked), "sums": sums, **seconds}
        (out / f"straggler.{runtime.rank}.json").write_text(json.dumps(found))


def replicas(net: nn.Module, runtime: Runtime, step: int) -> str:
    """Return what is found where processes compare their weights."""
    try:
        check_replicas(net, runtime, step)
    except ReplicasDifferError as error:
        return str(error)
    return ""


def gradient(model: nn.Module, backward: Any, x: Tensor, late: Any = lambda x: x) -> list[Tensor]:
    """Return the gradients of a loss, averaged over the processes."""
    model.zero_grad()
    backward(late(model(x)).square().sum())
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def accumulated(model: nn.Module, runtime: Runtime, x: Tensor) -> list[float]:
    """Return how large the gradient is after each of two microbatches."""
    sums = []
    model.zero_grad()
    for last in (False, True):
        with runtime.accumulate(model, last=last):
            runtime.backward(model(x).square().sum())
        sums.append(size([p.grad for p in model.parameters() if p.grad is not None]))
    return sums


def size(gradient: list[Tensor]) -> float:
    """Return a number that tells gradients apart."""
    return float(sum(g.abs().sum() for g in gradient))


if __name__ == "__main__":
    torch.set_num_threads(1)  # threads do not survive a fork
    run_forked(WORLD_SIZE, partial(run_rank, Path(sys.argv[1])))
