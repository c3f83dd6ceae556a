"""step: whether all processes still hold the same weights, to the last bit."""

import torch
from torch import Tensor, nn

from job.runtime import Runtime
from mtl.errors import UserError

EVERY_STEPS = 100
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ReplicasDifferError(UserError):
    """Processes that should hold the same weights do not: what follows would be nobody's result."""

    exit_code = 70


def check_replicas(model: nn.Module, runtime: Runtime, step: int) -> None:
    """Compare the weights of all processes, every so many steps: a pass over them and one exchange.

    A bug, a library or a broken device can let replicas drift apart without any other sign.

    Args:
        model: whose weights are compared by a sum of their bits each.
        runtime: of the processes.
        step: optimizer steps done.

    Raises:
        ReplicasDifferError: on all processes, with the weight and the processes.
    """
    if runtime.world_size == 1 or step % EVERY_STEPS:
        return
    named = list(model.named_parameters())
    mine = torch.stack([_bits(weight) for _, weight in named])
    everyone = torch.stack(runtime.gather(mine, [len(mine)] * runtime.world_size))
    different = (everyone != everyone[0]).cpu()
    if different.any():
        rank, index = map(int, different.nonzero()[0])
        raise ReplicasDifferError(
            f"step {step}: process {rank} no longer holds the weights of process 0: "
            f"{int(different[rank].sum())} of {len(named)} differ, the first is {named[index][0]}. "
            "Nothing of this step is saved; the same command goes on from the last checkpoint"
        )


def _bits(weight: Tensor) -> Tensor:
    """Return the sum of the bits as whole numbers, modulo 2**64, whatever their order."""
    return weight.detach().contiguous().view(INTEGERS[weight.element_size()]).sum(dtype=torch.int64)
