"""balancing by methods that bend a given combination of the tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from mtl.balancing import Facts, OnGramian
from mtl.balancing._gramians import Weighted
from mtl.balancing._names import by_task

Preference = dict[str, Annotated[float, Field(ge=0)]] | None


@dataclass(frozen=True, kw_only=True)
class OnPreferredGramian(OnGramian):
    """Options of methods that bend a given combination of the gradients."""

    preference: Preference = None
    """Weight of every task in the combination. Default: 1 / number of tasks with a gradient."""


def preference_of(
    values: Mapping[str, float] | None, tasks: Sequence[str]
) -> Float[Tensor, " tasks"] | None:
    """Return a preference in the order of the tasks.

    Raises:
        ConfigError: it does not name the tasks that there are.
    """
    if values is None:
        return None
    return torch.tensor(by_task("preference", values, tasks), dtype=torch.float64)


class Preferring(Protocol):
    """UPGradWeighting, DualProjWeighting and AlignedMTLWeighting."""

    pref_vector: Tensor | None

    def __call__(self, gramian: Tensor, /) -> Tensor:
        """Return the weights."""


class Preferred(Weighted):
    """Weights of a TorchJD weighting that bends the preference among the tasks that take part.

    Args:
        weigh: the weighting.
        preference: of each task; None is the mean.
    """

    def __init__(self, weigh: Preferring, preference: Float[Tensor, " tasks"] | None) -> None:
        super().__init__(weigh)
        self._preferring, self._preference = weigh, preference

    def weigh(
        self, gramian: Float[Tensor, "rows rows"], rows: Int[Tensor, " rows"], facts: Facts
    ) -> Float[Tensor, " rows"]:
        """Return TorchJD's weights."""
        if self._preference is not None:
            self._preferring.pref_vector = self._preference[rows]
        return super().weigh(gramian, rows, facts)
