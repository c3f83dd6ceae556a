"""balancing: numbers that all processes share to one weight for the loss of each task.

Each method is a thin plugin over TorchJD. Of what TorchJD 0.18 computes from losses or a Gramian,
these are left out: MoDo and SDMGrad need gradients of two independent batches; Krum is a defence
against hostile workers, no balance of tasks; COSMOS and PBI trace a Pareto front, for a model that
is told the preference of each step (with a fixed one, `stch` and `static` do their work); Sum, Mean
and Constant are `static` and `equal`; CR-MOGM is the option `smoothing` of every method on the
Gramian. GradDrop, ConFIG, ExcessMTL and TrimmedMean need whole gradients, not inner products.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mtl.plugin import Plugin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Needs = Literal["nothing", "losses", "gramian"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What all processes know of a step, in float64 on the CPU; each has the same numbers.

    Attributes:
        step: optimizer steps done before this one, since the beginning of the training.
        epoch: epochs that are over.
        present: whether the step holds a label of the task.
        losses: mean loss of each task over the step, times `tasks.NAME.weight`; 0 without a label.
        gramian: inner products of the gradients of these losses, where they are asked for.
        generator_seed: what everything random in the weights follows from: seed and step alone.
    """

    step: int
    epoch: int
    present: "Bool[Tensor, ' tasks']"
    losses: "Float[Tensor, ' tasks'] | None" = None
    gramian: "Float[Tensor, 'tasks tasks'] | None" = None
    generator_seed: int = 0


class Balancer(ABC):
    """Weights of the tasks, step by step; what it remembers is in its state."""

    @abstractmethod
    def weights(self, facts: Facts) -> "Float[Tensor, ' tasks']":
        """Return the weight of each task's loss in the one backward of this step.

        Args:
            facts: with the losses, or with losses and Gramian, where `Balancing.needs` says so.

        Returns:
            float64 on the CPU, finite; 0 for a task that is not present.
        """

    def observe(self, facts: Facts) -> None:  # noqa: B027  # most remember nothing
        """Take the losses of a step that has been made, where `Balancing.observes`."""

    def observe_again(self, losses: "Float[Tensor, ' tasks']") -> None:  # noqa: B027
        """Take the losses of the same seeds after the update, where `Balancing.looks_back`."""

    def state(self) -> "dict[str, Tensor]":
        """Return all that the next weights depend on, beside facts and options."""
        return {}

    def load(self, state: "dict[str, Tensor]") -> None:  # noqa: B027
        """Take what `state` returned; what follows is the same to the last bit."""


@dataclass(frozen=True, kw_only=True)
class Balancing(Plugin):
    """How the losses of the tasks become one."""

    needs: ClassVar[Needs] = "nothing"
    """What the weights of a step depend on of the step itself."""
    observes: ClassVar[bool] = False
    """Whether the weights of later steps depend on the losses of this one."""
    looks_back: ClassVar[bool] = False
    """Whether they depend on the losses of the same seeds after the update, too."""

    conflicts_every: Annotated[int, Field(ge=1)] | None = 50
    """Steps between two looks at how the tasks' gradients agree, in the record as `conflict/...`.
    It takes a backward pass through each head; null never looks."""

    @abstractmethod
    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what computes the weights.

        Args:
            tasks: names, in the order of weights, losses and Gramian.

        Raises:
            ConfigError: a library that the method needs is not installed, or an option names a
                task that there is not.
        """


@dataclass(frozen=True, kw_only=True)
class TwoPhase(Balancing):
    """Options of methods whose weights depend on the step: they must exist before its backward."""

    accumulate: Literal["auto", "keep", "recompute"] = "auto"
    """Where a step has several microbatches on a process: keep what their backward needs until the
    weights are known, or compute them forward twice, with the same neighbours and the same dropout.
    auto keeps what fits into `accumulate_bytes`."""
    accumulate_bytes: Annotated[int, Field(ge=0)] = 2 << 30
    """Memory that auto may keep on each process, by the size of the first microbatch."""


@dataclass(frozen=True, kw_only=True)
class OnLosses(TwoPhase):
    """Options of methods whose weights follow from the losses of the step."""

    needs: ClassVar[Needs] = "losses"


@dataclass(frozen=True, kw_only=True)
class OnGramian(TwoPhase):
    """Options of methods whose weights follow from the inner products of the tasks' gradients."""

    needs: ClassVar[Needs] = "gramian"

    at: Literal["representation", "parameters"] | None = None
    """Gradients of what: `representation`, the tensors that every task reads (one backward pass
    through each head), or `parameters`, all weights below the heads (one through the whole model
    for each task, and as many copies of its gradient). Default: representation, where the sharing
    has one."""
    max_jacobian_gib: Annotated[float, Field(gt=0)] = 4.0
    """Memory that the gradients of all tasks may take at `parameters`, on each process."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the average of a task's weights so far in its weight of this step, against weights
    that jump with every batch (CR-MOGM, Zhou et al., 2022; 0.9 is usual). 0 takes each step's."""

    def build(self, tasks: Sequence[str]) -> Balancer:
        """Make what computes the weights, smoothed where that is asked for."""
        from mtl.balancing._smoothed import Smoothed

        balancer = self.balancer(tasks)
        return Smoothed(balancer, self.smoothing, len(tasks)) if self.smoothing else balancer

    @abstractmethod
    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make what computes the weights of one step; arguments and errors are those of `build`."""
