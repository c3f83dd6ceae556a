"""step: how the gradients of the tasks agree, of all processes and microbatches together."""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from job.runtime import Runtime
from mtl.errors import ConfigError
from mtl.loaders.transfer import moved
from mtl.models.multitask import MultiTaskModel

BUCKET_BYTES = 25 << 20
"""Of a gradient that processes add up at a time; as much as DDP's buckets hold."""


class Gradients(Protocol):
    """Collects the gradients of the tasks, microbatch after microbatch."""

    def add(self, losses: Sequence[Float[Tensor, ""]], labelled: Sequence[bool]) -> None:
        """Take the losses of the model's last batch; tasks without a label there have no gradient.

        The graph stays as it is, and no gradient of a parameter is touched.
        """
        ...

    def gramian(self) -> Float[Tensor, "tasks tasks"]:
        """Return this process's part of the Gramian in float64: the sum over processes is all."""
        ...


class AtRepresentation:
    """Gradients of the representation: one backward pass through each head.

    Seeds are rows of one microbatch each, so Gramians of microbatches, wherever they were computed,
    add up to the Gramian of the whole step: processes exchange tasks^2 numbers.

    Args:
        model: whose last forward left its representation.
        num_tasks: in the order of the losses.
        scale: of the losses in backward; see `Runtime.loss_scale`.
    """

    def __init__(self, model: MultiTaskModel, num_tasks: int, scale: float = 1.0) -> None:
        self._model, self._scale = model, scale
        weight = next(model.parameters())
        self._sum: Tensor = weight.new_zeros(num_tasks, num_tasks, dtype=torch.float64)

    def add(self, losses: Sequence[Float[Tensor, ""]], labelled: Sequence[bool]) -> None:
        """Take the losses of the last batch."""
        read = [x for x in self._model.representation.values() if x.requires_grad]  # not frozen
        chosen = [task for task, has_label in enumerate(labelled) if has_label]
        if not chosen:
            return
        rows = [self._row(losses[task], read) for task in chosen]
        place = moved(torch.tensor(chosen), read[0].device)
        for parts in zip(*rows, strict=True):
            matrix = torch.stack(parts)
            product = (matrix @ matrix.T).double() / self._scale**2
            self._sum[place[:, None], place] += product

    def gramian(self) -> Float[Tensor, "tasks tasks"]:
        """Return the sum over the microbatches."""
        return self._sum

    def _row(self, loss: Tensor, read: Sequence[Tensor]) -> list[Tensor]:
        """Return a task's gradient of each tensor, flat; zeros where it does not read it."""
        gradients = torch.autograd.grad(
            loss * self._scale, read, retain_graph=True, allow_unused=True
        )
        exact = torch.promote_types(read[0].dtype, torch.float32)
        return [
            (torch.zeros_like(x) if g is None else g).flatten().to(exact)
            for x, g in zip(read, gradients, strict=True)
        ]


class AtParameters:
    """Gradients of all weights below the heads: one backward pass through the model for each task.

    Gradients of one weight add up over microbatches before they are multiplied, so every process
    keeps a gradient for each task, and processes exchange all of them.

    Args:
        model: with its weights.
        num_tasks: in the order of the losses.
        runtime: adds up over the processes.
        max_gib: memory that the gradients may take.

    Raises:
        ConfigError: they would take more.
    """

    def __init__(
        self, model: MultiTaskModel, num_tasks: int, runtime: Runtime, max_gib: float
    ) -> None:
        self._parameters = [p for p in model.bottom.parameters() if p.requires_grad]
        self._runtime, self._scale = runtime, runtime.loss_scale
        self.num_bytes = jacobian_bytes(model, num_tasks)
        if self.num_bytes > max_gib * 2**30:
            size = sum(p.numel() for p in self._parameters)
            raise ConfigError(
                f"balancing.at: the gradients of {size:,} weights for each of {num_tasks} tasks "
                f"take {self.num_bytes / 2**30:,.2f} GiB on every process, more than "
                f"balancing.max_jacobian_gib {max_gib:g}; take `at: representation`, or raise that"
            )
        first = self._parameters[0]
        width = sum(p.numel() for p in self._parameters)
        self._jacobian = first.new_zeros(num_tasks, width)

    def add(self, losses: Sequence[Float[Tensor, ""]], labelled: Sequence[bool]) -> None:
        """Take the losses of the last batch."""
        for task, has_label in enumerate(labelled):
            if has_label:
                gradients = torch.autograd.grad(
                    losses[task] * self._scale,
                    self._parameters,
                    retain_graph=True,
                    allow_unused=True,
                )
                start = 0
                for parameter, gradient in zip(self._parameters, gradients, strict=True):
                    part = slice(start, start := start + parameter.numel())
                    if gradient is not None:
                        self._jacobian[task, part] += gradient.flatten()

    def gramian(self) -> Float[Tensor, "tasks tasks"]:
        """Return this process's share of the Gramian of the sums over all processes."""
        num_tasks = len(self._jacobian)
        columns = max(BUCKET_BYTES // (num_tasks * self._jacobian.element_size()), 1)
        total = self._jacobian.new_zeros(num_tasks, num_tasks, dtype=torch.float64)
        for bucket in torch.split(self._jacobian, columns, dim=1):
            matrix = self._runtime.sum(bucket.contiguous()).double()
            total += matrix @ matrix.T
        return total / self._scale**2 / self._runtime.world_size


def conflicts(names: list[str], gramian: Float[Tensor, "tasks tasks"]) -> dict[str, float]:
    """Return how gradients agree: norms, cosines of all pairs, and the share of pairs below 0.

    Tasks without a gradient are left out.
    """
    norm = gramian.diagonal().clamp(min=0).sqrt()
    there = [i for i in range(len(names)) if norm[i] > 0]
    found = {f"conflict/norm/{names[i]}": float(norm[i]) for i in there}
    pairs = [(i, j) for i in there for j in there if i < j]
    cosines = {(i, j): float(gramian[i, j] / norm[i] / norm[j]) for i, j in pairs}
    found |= {f"conflict/cosine/{names[i]}/{names[j]}": c for (i, j), c in cosines.items()}
    if pairs:
        found["conflict/share"] = sum(c < 0 for c in cosines.values()) / len(pairs)
    return found


def jacobian_bytes(model: MultiTaskModel, num_tasks: int) -> int:
    """Return the memory of the gradients of all weights below the heads, for every task."""
    trained = (p for p in model.bottom.parameters() if p.requires_grad)
    return num_tasks * sum(p.numel() * p.element_size() for p in trained)


def kept_bytes(model: nn.Module, run: "Forward") -> int:
    """Return the memory that a forward keeps for its backward, beside weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = run()
    del outputs
    return sum(found.values())


class Forward(Protocol):
    """A forward that can be made again."""

    def __call__(self) -> object:
        """Return its outputs, which hold the graph."""
        ...
