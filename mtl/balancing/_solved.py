"""balancing by a computation among the tasks that take part in a step, and which may fail."""

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.balancing import Facts
from mtl.balancing._memory import Remembering


class Solved(Remembering):
    """Weights of the tasks that take part; the others get exactly 0 and keep what is remembered."""

    _has_warned = False

    @abstractmethod
    def rows(self, facts: Facts) -> Int[Tensor, " rows"]:
        """Return which tasks take part."""

    @abstractmethod
    def solve(self, facts: Facts, rows: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Return their weights; there is at least one."""

    def weights(self, facts: Facts) -> Float[Tensor, " tasks"]:
        """Return what `solve` finds, or equal weights where it finds none."""
        weights = torch.zeros(len(facts.present), dtype=torch.float64)
        rows = self.rows(facts)
        if len(rows):
            weights[rows] = self._solve_or_average(facts, rows)
        return weights

    def _solve_or_average(self, facts: Facts, rows: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        before = self.state()
        try:
            with _seeded(facts.generator_seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self.solve(facts, rows)
            if torch.isfinite(found).all():
                return found
            cause = "weights that are not finite"
        except Exception as error:  # solvers raise what they like
            cause = f"{type(error).__name__}: {error}"
        self.load(before)
        self._warn(f"step {facts.step}: {cause}")
        return torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)

    def _warn(self, cause: str) -> None:
        if not self._has_warned:
            message = f"balancing: no weights in {cause}; equal ones instead, here and where it "
            warnings.warn(message + "happens again (said once)", RuntimeWarning, stacklevel=4)
            self._has_warned = True


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what TorchJD draws from, the CPU's generator alone, and give it back as it was."""
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)
