"""sharing: what decides how much each task hears of what, and can be asked about it."""

from collections.abc import Iterable, Mapping
from functools import reduce

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from mtl.models.embeddings import Embeddings


class Gate(nn.Module):
    """Weights of what a task chooses from; their sum over the seeds is kept in evaluation.

    The sums are no buffers: DDP would broadcast them, and a checkpoint does not want them.

    Args:
        task: that chooses.
        choices: names of what there is to choose from, unlike those of the task's other gates.
    """

    def __init__(self, task: str, choices: Iterable[str]) -> None:
        super().__init__()
        self.task, self.choices = task, tuple(choices)
        self.reset()

    def reset(self) -> None:
        """Forget the sums."""
        self._sum, self._count = torch.zeros(len(self.choices), dtype=torch.float64), 0

    def totals(self) -> tuple[Float64[Tensor, " choices"], int]:
        """Return the sum of the weights and the number of seeds since the last reset."""
        return self._sum, self._count

    def record(self, weights: Float[Tensor, "seeds choices"]) -> None:
        """Add the weights of seeds, in evaluation."""
        if not self.training:
            added = weights.detach().sum(0, dtype=torch.float64)
            self._sum, self._count = self._sum.to(added.device) + added, self._count + len(weights)

    def mix(
        self,
        weights: Float[Tensor, "#nodes choices"],
        outputs: Mapping[str, Float[Tensor, "nodes dim"]],
        num_seeds: int,
    ) -> Float[Tensor, "nodes dim"]:
        """Return the weighted sum of the outputs that are choices; seeds are the first nodes."""
        chosen = [(i, outputs[name]) for i, name in enumerate(self.choices) if name in outputs]
        self.record(weights.expand(len(chosen[0][1]), -1)[:num_seeds])
        return reduce(torch.add, (weights[:, i, None].to(h.dtype) * h for i, h in chosen))


class SoftmaxGate(Gate):
    """softmax(W x): a weight for each choice that adds up to 1 over those that there are.

    Args:
        task: that chooses.
        choices: names of what there is to choose from.
        dim: width of the embeddings x that decide.
    """

    def __init__(self, task: str, choices: Iterable[str], dim: int) -> None:
        super().__init__(task, choices)
        self.linear = nn.Linear(dim, len(self.choices), bias=False)

    def forward(
        self, x: Embeddings, outputs: Mapping[str, Float[Tensor, "nodes dim"]], num_seeds: int
    ) -> Float[Tensor, "nodes dim"]:
        """Return the weighted sum of the outputs that are choices."""
        logits = x.through(self.linear)
        absent = [i for i, choice in enumerate(self.choices) if choice not in outputs]
        logits = logits.clone() if absent else logits
        for i in absent:  # by number: a mask would have to be sent to the device
            logits[:, i] = -torch.inf
        weights = torch.softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return self.mix(weights, outputs, num_seeds)
