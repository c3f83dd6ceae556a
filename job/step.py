"""step: the gradient of all tasks together, exact whatever the number of processes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from job.gramian import AtParameters, AtRepresentation, Gradients, kept_bytes
from job.runtime import NonFiniteError, Runtime
from mtl.balancing import Balancing, Facts, OnGramian, TwoPhase
from mtl.models.multitask import MultiTaskModel
from mtl.tasks.bound import BoundTask
from mtl.tasks.losses import apart

Losses = Float[Tensor, " tasks"]
Parts = list[Float[Tensor, ""]]
"""Loss of each task, with a graph of its own above what the tasks share."""
Computed = tuple[Data, Losses]
"""A microbatch and its part of the loss of each task."""


class Stepper:
    """Makes the gradient of a step: that of sum_t w_t L_t, whose weights the balancing chooses.

    Weights that depend on the step exist before its backward: losses, and the Gramian of their
    gradients, are added up over all microbatches of all processes; then ONE backward runs, under
    DDP. The graphs of several microbatches are kept until then, or made a second time.

    Args:
        model: as prepared by the runtime.
        tasks: by name.
        balancing: the section.
        runtime: DDP averages over processes, so losses are multiplied by their number.
        seed: of the run; dropout follows from it and from the number of the microbatch.
        counts: step -> how many labels of each task all of its microbatches hold.
        steps_per_epoch: for methods that look at epochs.

    Raises:
        ConfigError: the balancing needs what is not installed, or more memory than it may take.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Mapping[str, BoundTask],
        balancing: Balancing,
        runtime: Runtime,
        seed: int,
        counts: Callable[[int], Mapping[str, float]],
        steps_per_epoch: int,
    ) -> None:
        inner = runtime.unwrap(model)
        assert isinstance(inner, MultiTaskModel)
        self._model, self._inner, self._tasks = model, inner, tasks
        self._options, self._runtime, self._seed = balancing, runtime, seed
        self._counts, self._steps_per_epoch = counts, steps_per_epoch
        self._task_weights = [task.task.weight for task in tasks.values()]
        self.balancer = balancing.build(list(tasks))
        self.keeps = True
        """Whether the graphs of all microbatches are kept until the weights are known."""
        self._conflicts: dict[str, float] = {}
        self._done: list[Data] = []
        self._facts = Facts(step=0, epoch=0, present=torch.zeros(len(tasks), dtype=torch.bool))
        self._gradients()  # what does not fit shows before the training

    def choose_memory(self, batch: Data, num_microbatches: int) -> str:
        """Decide whether to keep graphs, by what the first microbatch of the training needs.

        Args:
            batch: the microbatch of number 0, so that every start decides alike.
            num_microbatches: of a step, on this process.

        Returns:
            What was decided, for people; nothing where there is nothing to decide.
        """
        options = self._options
        if not isinstance(options, TwoPhase) or num_microbatches < 2:
            return ""
        if options.accumulate != "auto":
            self.keeps = options.accumulate == "keep"
            return ""
        batch = batch.to(self._runtime.device)
        forward = partial(self._forward, self._inner, batch)
        size = num_microbatches * kept_bytes(self._inner, forward)
        self.keeps = size <= options.accumulate_bytes
        how = "kept until its weights are known" if self.keeps else "computed forward twice"
        return f"balancing: a step is {how} ({size / 2**30:.2f} GiB of graphs on a process)"

    def backward(self, batches: Iterable[Data], step: int) -> Iterator[Computed]:
        """Add the gradient of a step; yield each microbatch with its part of the losses.

        Args:
            batches: of this process; an empty one contributes an exact zero, gradients of all
                processes meet in the last one.
            step: its number.

        Raises:
            NonFiniteError: losses or gradients that the weights depend on are no finite numbers.
        """
        self._facts, self._done = self._known(step), []
        wanted = self._options.needs == "gramian" or self._looks(step)
        gradients = self._gradients() if wanted else None
        if self._options.needs != "nothing":
            yield from self._in_two_phases(batches, gradients)
        else:
            task_weights = self.balancer.weights(self._facts)
            total = self._zeros()
            for batch, losses in self._at_once(batches, task_weights, gradients):
                total += self._weighted(losses).double()
                yield batch, losses
            if self._options.observes or gradients is not None:
                self._facts = self._shared(total, gradients)
            self._look(task_weights)
        if self._options.observes:
            self.balancer.observe(self._facts)

    def look_back(self) -> None:
        """Tell the balancing the losses after the update, where it wants to know."""
        if self._options.looks_back:
            total = self._zeros()
            with torch.no_grad(), self._runtime.clock("balancing"):
                for batch in self._done:
                    parts = self._forward(self._inner, batch)
                    total += self._weighted(torch.stack(parts)).double()
                self.balancer.observe_again(self._runtime.sum(total).cpu())

    def record(self) -> dict[str, float]:
        """Return weights, and how the gradients agree, as far as they are new."""
        record, self._conflicts = self._conflicts, {}
        return record

    def _looks(self, step: int) -> bool:
        """Return whether it is time to look how the gradients agree, and cheap."""
        every = self._options.conflicts_every
        due = every is not None and step % every == 0 and len(self._tasks) > 1
        return due and self._inner.has_representation

    def _at_once(
        self, batches: Iterable[Data], task_weights: Losses, gradients: Gradients | None
    ) -> Iterator[Computed]:
        """Yield microbatches whose backward is done."""
        for batch in map(self._moved, batches):
            with self._runtime.accumulate(self._model, last=batch.is_last):
                parts = self._forward(self._model, batch)
                self._add(gradients, parts, batch)
                self._descend(self._combined(parts, task_weights))
            yield batch, detached(parts)

    def _in_two_phases(
        self, batches: Iterable[Data], gradients: Gradients | None
    ) -> Iterator[Computed]:
        """Find the weights, then run the backward; yield the microbatches."""
        total, kept = self._zeros(), []
        for batch in map(self._moved, batches):
            parts = self._first_look(batch, gradients)
            total += self._weighted(detached(parts)).double()
            self._done.append(batch)
            kept.append(parts)
        self._facts = self._shared(total, gradients)
        task_weights = self.balancer.weights(self._facts)
        self._look(task_weights)
        if not self.keeps:
            yield from self._at_once(self._done, task_weights, None)
            return
        combined = [self._combined(parts, task_weights) for parts in kept]
        self._descend(torch.stack(combined).sum())
        yield from zip(self._done, map(detached, kept), strict=True)

    def _first_look(self, batch: Data, gradients: Gradients | None) -> Parts:
        """Return the losses of a microbatch: with their graph, if it is kept, else without."""
        if self.keeps:
            with self._runtime.accumulate(self._model, last=batch.is_last):
                parts = self._forward(self._model, batch)
        elif gradients is None:
            with torch.no_grad():
                parts = self._forward(self._inner, batch)
        elif isinstance(gradients, AtRepresentation):
            parts = self._forward(self._above, batch)
        else:
            parts = self._forward(self._inner, batch)
        self._add(gradients, parts, batch)
        return parts if self.keeps else [part.detach() for part in parts]

    def _above(self, batch: Data) -> dict[str, Tensor]:
        """Compute as the prepared model does, but for the gradient below the representation."""
        with self._runtime.autocast():
            outputs = self._inner.above(batch)
        return {
            name: x.to(torch.promote_types(x.dtype, torch.float32)) for name, x in outputs.items()
        }

    def _forward(self, model: Callable[[Data], dict[str, Tensor]], batch: Data) -> Parts:
        """Return the losses of a microbatch, the same each time."""
        torch.manual_seed(microbatch_seed(self._seed, batch.number))
        with self._runtime.clock("forward"):
            return apart(model(batch), batch, self._tasks)

    def _descend(self, loss: Float[Tensor, ""]) -> None:
        self._runtime.backward(loss * self._runtime.world_size)

    def _moved(self, batch: Data) -> Data:
        with self._runtime.clock("copy"):
            moved: Data = batch.to(self._runtime.device, non_blocking=True)
        return moved

    def _weighted(self, losses: Losses) -> Losses:
        return losses * losses.new_tensor(self._task_weights)

    def _combined(self, parts: Parts, task_weights: Losses) -> Float[Tensor, ""]:
        """Return the loss to descend."""
        losses = self._weighted(torch.stack(parts))
        return (losses * task_weights.to(losses)).sum()

    def _zeros(self) -> Losses:
        return torch.zeros(len(self._tasks), dtype=torch.float64, device=self._runtime.device)

    def _gradients(self) -> Gradients:
        """Return what collects the gradients of one step."""
        options, size = self._options, len(self._tasks)
        if isinstance(options, OnGramian) and (
            options.at == "parameters" or not self._inner.has_representation
        ):
            return AtParameters(self._inner, size, self._runtime, options.max_jacobian_gib)
        return AtRepresentation(self._inner, size, self._runtime.loss_scale)

    def _add(self, gradients: Gradients | None, parts: Parts, batch: Data) -> None:
        if gradients is not None:
            weighted = [w * part for w, part in zip(self._task_weights, parts, strict=True)]
            labelled = [len(batch.target[name]) > 0 for name in self._tasks]
            with self._runtime.clock("balancing"):
                gradients.add(weighted, labelled)

    def _known(self, step: int) -> Facts:
        """Return what is known before anything is computed: without asking other processes."""
        counts = self._counts(step)
        present = torch.tensor([counts[name] > 0 for name in self._tasks])
        seed = microbatch_seed(self._seed, -2 - step)  # those of microbatches are not below -1
        epoch = step // self._steps_per_epoch
        return Facts(step=step, epoch=epoch, present=present, generator_seed=seed)

    def _shared(self, total: Losses, gradients: Gradients | None) -> Facts:
        """Add losses and Gramian up over all processes; every one has the same bits afterwards."""
        size = len(self._tasks)
        with self._runtime.clock("balancing"):
            gramian = total.new_zeros(0) if gradients is None else gradients.gramian()
            numbers = torch.cat([total, gramian.to(total).flatten()])
            both = self._runtime.sum(numbers).cpu()
        self._check(both[:size], both[size:])
        square = None if gradients is None else both[size:].view(size, size)
        return replace(self._facts, losses=both[:size], gramian=square)

    def _check(self, losses: Losses, gramian: Tensor) -> None:
        """Refuse weights that would be no numbers: all processes alike.

        Raises:
            NonFiniteError: naming the tasks.
        """
        names = list(self._tasks)
        good = losses.isfinite()
        if len(gramian):
            good &= gramian.view(len(names), -1).diagonal().isfinite()
        if not good.all():
            bad = ", ".join(name for name, ok in zip(names, good.tolist(), strict=True) if not ok)
            raise NonFiniteError(
                f"step {self._facts.step}: the loss of {bad}, or its gradient, is not finite; "
                f"nothing was saved since. Lower optim.lr, set optim.clip_norm, or look at the "
                f"labels"
            )

    def _look(self, task_weights: Losses) -> None:
        """Remember the weights, and how the gradients agree, for the record."""
        names, gramian = list(self._tasks), self._facts.gramian
        if self._options.needs != "nothing" or self._options.observes:
            pairs = zip(names, task_weights.tolist(), strict=True)
            self._conflicts |= {f"balance/weight/{name}": weight for name, weight in pairs}
        if gramian is not None:
            self._conflicts |= conflicts(names, gramian)


def detached(parts: Parts) -> Losses:
    """Return the losses without their graphs."""
    return torch.stack([part.detach() for part in parts])


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


def microbatch_seed(seed: int, number: int) -> int:
    """Return what everything random on the device follows from: not rank, not world size."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def warm_up(model: nn.Module, empty: Data, runtime: Runtime) -> None:
    """Run one forward and backward of zeros.

    DDP arranges its buckets after the first backward: without this, the last bit of a resumed
    training differs from 3 processes up. Shapes that do not fit show up here, too.
    """
    total = torch.stack([prediction.sum() for prediction in model(empty).values()]).sum()
    runtime.backward(total * 0)
    model.zero_grad()
