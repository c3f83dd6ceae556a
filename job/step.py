"""step: the gradient of all tasks together, exact whatever the number of processes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from job.agreement import Agreement, Policy
from job.gramian import AtParameters, AtRepresentation, Gradients, kept_bytes
from job.runtime import Runtime
from mtl.balancing import Balancing, Facts, OnGramian, TwoPhase
from mtl.errors import ConfigError
from mtl.loaders.stream import Stream
from mtl.loaders.transfer import moved
from mtl.models.multitask import MultiTaskModel
from mtl.tasks.bound import BoundTask
from mtl.tasks.losses import apart

Losses = Float[Tensor, " tasks"]
Computed = tuple[Data, Losses]
"""A microbatch and its part of the loss of each task."""


@dataclass(frozen=True, eq=False)
class Made:
    """What a forward has made of a microbatch.

    Attributes:
        outputs: of each task.
        losses: of each, with a graph of its own above what the tasks share.
    """

    outputs: Mapping[str, Tensor]
    losses: list[Float[Tensor, ""]]

    def detached(self) -> Losses:
        """Return the losses without their graphs."""
        return torch.stack([loss.detach() for loss in self.losses])


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
        stream: of the training; knows how many labels of each task a step holds.
        seed: of the run; dropout follows from it and from the number of the microbatch.
        policy: what to do where a loss or a gradient is no finite number.

    Raises:
        ConfigError: the balancing needs what is not installed, or more memory than it may take.
    """

    def __init__(
        self,
        model: nn.Module,
        tasks: Mapping[str, BoundTask],
        balancing: Balancing,
        runtime: Runtime,
        stream: Stream,
        seed: int,
        policy: Policy = "stop",
    ) -> None:
        inner = runtime.unwrap(model)
        assert isinstance(inner, MultiTaskModel)
        self._model, self._inner, self._runtime = model, inner, runtime
        self._options, self._stream, self._seed, self._policy = balancing, stream, seed, policy
        self._tasks = dict(sorted(tasks.items()))  # what is remembered must not know their order
        self._places = [list(self._tasks).index(name) for name in tasks]
        self._task_weights = [task.task.weight for task in self._tasks.values()]
        numbers = torch.tensor(self._task_weights, dtype=torch.float64)
        self._factors = moved(numbers, runtime.device)
        self.balancer = balancing.build(list(self._tasks))
        self.agreement = Agreement(list(self._tasks), runtime, policy)
        self.keeps = True
        """Whether the graphs of all microbatches are kept until the weights are known."""
        self._again: list[Data] = []
        trained = [parameter.requires_grad for parameter in inner.bottom.parameters()]
        self._all_trained, self._any_trained = all(trained), any(trained)
        if isinstance(balancing, OnGramian) and not self._any_trained:
            raise ConfigError(
                f"balancing.type: {balancing.type} weighs gradients of what the tasks share, and "
                "model.freeze leaves nothing of that to train; take equal or static"
            )
        self._facts = Facts(step=0, epoch=0, present=torch.zeros(len(tasks), dtype=torch.bool))
        self._gradients()  # what does not fit shows before the training

    def choose_memory(self) -> str:
        """Decide whether to keep graphs, by what the first microbatch of the training needs.

        Every start asks for the same one, the microbatch of number 0, and decides alike.

        Returns:
            What the balancing keeps on a process, for people; nothing where that is nothing.
        """
        options, order, runtime = self._options, self._stream.order, self._runtime
        said, gradients = [], self._gradients()
        if self._options.needs == "gramian" and isinstance(gradients, AtParameters):
            size = gradients.num_bytes / 2**30
            said.append(f"a gradient of the shared weights for each task, {size:.2f} GiB")
        rounds = len(order.share(0, runtime.rank, runtime.world_size))
        if isinstance(options, TwoPhase) and rounds > 1:
            self.keeps = options.accumulate != "recompute"
            if options.accumulate == "auto":
                first = self._stream.loader([0]).to(runtime.device)
                forward = partial(self._forward, self._inner, first)
                size = rounds * kept_bytes(self._inner, forward)
                self.keeps = size <= options.accumulate_bytes
                how = "kept until the weights are known" if self.keeps else "computed forward twice"
                said.append(f"a step of {rounds} microbatches is {how}, {size / 2**30:.2f} GiB")
        return f"balancing, on each process: {'; '.join(said)}" if said else ""

    def backward(self, batches: Iterable[Data], step: int) -> Iterator[Computed]:
        """Add the gradient of a step; yield each microbatch with its part of the losses.

        Args:
            batches: of this process; an empty one contributes an exact zero, gradients of all
                processes meet in the last one.
            step: its number.

        Raises:
            BrokenStepError: what the weights depend on is no finite number, and the policy is to
                stop.
        """
        self._facts, self._again = self._known(step), []
        self.agreement.begin(step)
        wanted = self._options.needs == "gramian" or self._looks(step)
        gradients = self._gradients() if wanted else None
        if self._options.needs != "nothing" or self._policy == "skip_task":
            yield from self._in_two_phases(batches, gradients)
        else:
            yield from self._in_one(batches, gradients)
        if self._options.observes and self.agreement.finite:
            self.balancer.observe(self._facts)

    def look_back(self) -> None:
        """Tell the balancing the losses after the update, where it wants to know."""
        if self._options.looks_back and self.agreement.finite:
            total = self._zeros()
            with torch.no_grad(), self._runtime.clock("balancing"):
                for batch in self._again:
                    total += self._sum_of(self._forward(self._inner, batch))
                self.balancer.observe_again(self._runtime.sum(total).cpu())

    def _looks(self, step: int) -> bool:
        """Return whether it is time to look how the gradients agree, and cheap."""
        every = self._options.conflicts_every
        due = every is not None and step % every == 0 and len(self._tasks) > 1
        return due and self._inner.has_representation and self._any_trained

    def _in_one(self, batches: Iterable[Data], gradients: Gradients | None) -> Iterator[Computed]:
        """Descend with weights that are known before; yield the microbatches."""
        task_weights, total = self.balancer.weights(self._facts), self._zeros()
        there = moved(task_weights, self._runtime.device)
        for batch, made in self._descents(map(self._moved, batches), there, gradients):
            total += self._sum_of(made)
            self.agreement.recent.add(batch.number, made.detached())
            yield batch, self._told(made)
        asked = self._options.observes or self._policy == "skip_step"  # of losses, by all
        if asked or gradients is not None:
            self._facts = self.agreement.shared(self._facts, total, gradients)
        self.agreement.look(self._facts, task_weights if self._options.observes else None)

    def _in_two_phases(
        self, batches: Iterable[Data], gradients: Gradients | None
    ) -> Iterator[Computed]:
        """Find the weights, then run the backward; yield the microbatches."""
        total, done, kept = self._zeros(), [], []
        for batch in map(self._moved, batches):
            made = self._first_look(batch, gradients)
            total += self._sum_of(made)
            self.agreement.recent.add(batch.number, made.detached())
            done.append(batch)
            kept += [made] if self.keeps else []
        self._again = done if self._options.looks_back else []
        self._facts = self.agreement.shared(self._facts, total, gradients)
        task_weights = self._zeros()
        if self.agreement.finite:
            task_weights = self.balancer.weights(self._facts)
        self.agreement.look(self._facts, task_weights)
        task_weights = moved(task_weights, self._runtime.device)
        if self.keeps:
            self._descend(torch.stack([self._combined(made, task_weights) for made in kept]).sum())
            yield from zip(done, map(self._told, kept), strict=True)
        else:
            for batch, made in self._descents(done, task_weights, None):
                yield batch, self._told(made)

    def _descents(
        self, batches: Iterable[Data], task_weights: Losses, gradients: Gradients | None
    ) -> Iterator[tuple[Data, Made]]:
        """Yield microbatches, each with a backward of its own."""
        for batch in batches:
            with self._runtime.accumulate(self._model, last=batch.is_last):
                made = self._forward(self._model, batch)
                self._add(gradients, made, batch)
                self._descend(self._combined(made, task_weights))
            yield batch, made

    def _first_look(self, batch: Data, gradients: Gradients | None) -> Made:
        """Return what a microbatch makes, with its graph if that is kept."""
        if self.keeps:
            with self._runtime.accumulate(self._model, last=batch.is_last):
                made = self._forward(self._model, batch)
        elif gradients is None:
            with torch.no_grad():
                made = self._forward(self._inner, batch)
        else:
            cheap = isinstance(gradients, AtRepresentation) and self._all_trained
            made = self._forward(self._above if cheap else self._inner, batch)
        self._add(gradients, made, batch)
        return made

    def _above(self, batch: Data) -> dict[str, Tensor]:
        """Compute as the prepared model does, but for the gradient below the representation."""
        with self._runtime.autocast():
            outputs = self._inner.above(batch)
        return {
            name: x.to(torch.promote_types(x.dtype, torch.float32)) for name, x in outputs.items()
        }

    def _forward(self, model: Callable[[Data], dict[str, Tensor]], batch: Data) -> Made:
        """Return what a microbatch makes, the same each time."""
        seed_device(microbatch_seed(self._seed, batch.number), self._runtime.device)
        with self._runtime.clock("forward"):
            outputs = model(batch)
            return Made(outputs, apart(outputs, batch, self._tasks))

    def _descend(self, loss: Float[Tensor, ""]) -> None:
        self._runtime.backward(loss * self._runtime.world_size)

    def _moved(self, batch: Data) -> Data:
        with self._runtime.clock("copy"):
            moved: Data = batch.to(self._runtime.device, non_blocking=True)
        return moved

    def _combined(self, made: Made, task_weights: Losses) -> Float[Tensor, ""]:
        """Return the loss to descend; a task that was dropped has a gradient of exactly 0."""
        each = zip(self._tasks, made.losses, self.agreement.dropped, strict=True)
        losses = [0 * made.outputs[name].sum() if out else loss for name, loss, out in each]
        weighted = self._weighted(torch.stack(losses))
        return (weighted * task_weights.to(weighted)).sum()

    def _weighted(self, losses: Losses) -> Losses:
        return losses * self._factors.to(losses.dtype)

    def _sum_of(self, made: Made) -> Losses:
        """Return what a microbatch adds to the losses of the step."""
        return self._weighted(made.detached()).double()

    def _told(self, made: Made) -> Losses:
        """Return the losses in the order of the configuration, without `weight`."""
        return torch.stack([made.losses[place].detach() for place in self._places])

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

    def _add(self, gradients: Gradients | None, made: Made, batch: Data) -> None:
        if gradients is not None:
            weighted = [w * loss for w, loss in zip(self._task_weights, made.losses, strict=True)]
            labelled = [len(batch.target[name]) > 0 for name in self._tasks]
            with self._runtime.clock("balancing"):
                gradients.add(weighted, labelled)

    def _known(self, step: int) -> Facts:
        """Return what is known before anything is computed: without asking other processes."""
        counts = self._stream.loader.num_targets_of(step)
        present = torch.tensor([counts[name] > 0 for name in self._tasks])
        seed = microbatch_seed(self._seed, -2 - step)  # those of microbatches are not below -1
        epoch = step // self._stream.order.steps_per_epoch
        return Facts(step=step, epoch=epoch, present=present, generator_seed=seed)


def microbatch_seed(seed: int, number: int) -> int:
    """Return what everything random on the device follows from: not rank, not world size."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the CPU and the device that computes, with the numbers of `torch.manual_seed`.

    That one also keeps a traceback for each kind of device that is not there: 0.1 ms and more.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def warm_up(model: nn.Module, empty: Data, runtime: Runtime) -> None:
    """Run one forward and backward of zeros.

    DDP arranges its buckets after the first backward: without this, the last bit of a resumed
    training differs from 3 processes up. Shapes that do not fit show up here, too.
    """
    total = torch.stack([prediction.sum() for prediction in model(empty).values()]).sum()
    runtime.backward(total * 0)
    model.zero_grad()
