"""balancing by one primary task and some progress for all others (PCD, 2026)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mtl.balancing import Balancer, OnGramian
from mtl.balancing._names import check_task


@dataclass(frozen=True, kw_only=True)
class Pcd(OnGramian):
    """Priority-constrained descent (arXiv:2606.29521): close to the primary task's gradient.

    Under the constraint that every other task gets a share tau of the progress that a step along
    its own gradient would make. A step in which the primary task has no gradient is the mean of
    the others.
    """

    primary: str
    """Name of the primary task."""
    tau: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Share of progress that the others get."""
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of a task's squared gradient length, which makes them alike."""
    eps: Annotated[float, Field(ge=0)] = 1e-8
    """Added to this average."""

    def balancer(self, tasks: Sequence[str]) -> Balancer:
        """Make TorchJD's weighting."""
        check_task("balancing.primary", self.primary, tasks)
        from mtl.balancing._pcd import Constrained

        return Constrained(self, list(tasks).index(self.primary), len(tasks))
