"""One gradient of all processes, exchanged in full or in bf16.

usage: RANK=... python compressed.py OUT_DIR none|bf16   (writes OUT_DIR/COMPRESSION.RANK.npy)
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from job.runtime import Runtime, run_command


def main(argv: list[str]) -> None:
    """Take the gradient of two microbatches on each process, as a step does."""
    out, compression = Path(argv[0]), argv[1]
    with Runtime("fp32", compression=compression) as runtime:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3))
        model, _ = runtime.prepare(net, torch.optim.SGD(net.parameters(), lr=1.0))
        random = torch.Generator().manual_seed(runtime.rank)
        for last in (False, True):
            with runtime.accumulate(model, last=last):
                x = torch.randn(20, 5, generator=random)
                runtime.backward(model(x).square().sum())
        gradient = torch.cat([p.grad.flatten() for p in net.parameters()])
        np.save(out / f"{compression}.{runtime.rank}.npy", gradient.numpy())


if __name__ == "__main__":
    run_command(main, __doc__ or "")
