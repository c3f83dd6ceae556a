"""sweep: what is tried: a grid, random draws, or what Optuna suggests after the trials so far."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt, ValidationError

from job.config import tree_at
from job.yaml12 import parse
from mtl.errors import ConfigError
from mtl.plugin import Options, explain, validated

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = dict[str, Any]
"""What one trial puts in the place of the configuration's own values, by dotted path."""
MAX_VALUES = 100_000
DIGITS = 4
"""Significant digits of a real number that is drawn: nobody wants to read more."""


@dataclass(frozen=True, kw_only=True)
class Range(Options):
    """Numbers from `low` to `high`, both included; whole ones if both are."""

    low: int | float
    """The lowest."""
    high: int | float
    """The highest."""
    step: int | float | None = None
    """Distance of two neighbours; a grid needs it."""
    log: bool = False
    """Draw evenly on a logarithmic scale, as for a learning rate."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step ({self.step}) must be in (0, {self.high - self.low}]")
        if max(-self.low, self.high) >= 2**62:
            raise ValueError(f"low ({self.low}) and high ({self.high}) must be below 2**62")
        if self.step is not None and (self.high - self.low) / self.step > MAX_VALUES:
            raise ValueError(f"step ({self.step}) makes more than {MAX_VALUES:,} values")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")

    @property
    def whole(self) -> bool:
        """Whether all numbers are whole ones."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))

    def steps(self) -> list[int | float]:
        """Return all numbers of a range with a step."""
        assert self.step is not None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return [self._rounded(self.low + i * self.step) for i in range(count)]

    def draw(self, rng: np.random.Generator) -> int | float:
        """Return one of the numbers, each as likely as the others (on its scale)."""
        if self.step is not None:
            return self.steps()[rng.integers(len(self.steps()))]
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        low, high = (math.log(n) if self.log else n for n in (self.low, self.high))
        number = rng.uniform(low, high)
        return self._rounded(math.exp(number) if self.log else number)

    def _rounded(self, number: float) -> int | float:
        number = round(number) if self.whole else float(f"{number:.{DIGITS}g}")
        return min(max(number, self.low), self.high)


Choices = Annotated[tuple[Any, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Sweep(Options):
    """What SPACE.yaml says."""

    space: Annotated[dict[str, Choices | Range], Field(min_length=1)]
    """Dotted path of a key of the configuration -> a list of values, or a range of numbers. A value
    may be a mapping: `model.sharing: [{type: hard}, {type: mmoe, num_experts: 4}]`."""
    method: Literal["grid", "random", "tpe"] = "grid"
    """grid tries every combination; random draws each value by itself; tpe lets Optuna suggest what
    looks promising after the trials so far (Bergstra et al., 2011)."""
    trials: PositiveInt | None = None
    """How many trials random and tpe do; raise it to go on with a sweep that is finished."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """run.seed of the trainings of each trial, whose mean score is the trial's."""
    score: str | None = None
    """mean_gain or TASK/METRIC of the validation split; default: evaluate.select."""

    def __post_init__(self) -> None:
        if self.method == "grid":
            if self.trials is not None:
                raise ValueError("trials: a grid tries all; leave it out, or take random or tpe")
            for key, values in self.space.items():
                if isinstance(values, Range) and values.step is None:
                    raise ValueError(f"space.{key}: a grid needs a list, or a range with a step")
            if self.num_trials > MAX_VALUES:
                raise ValueError(f"space: a grid of {self.num_trials:,}; at most {MAX_VALUES:,}")
        elif self.trials is None:
            raise ValueError(f"trials: {self.method} needs to know how many")

    @property
    def num_trials(self) -> int:
        """How many trials there are."""
        return self.trials or math.prod(len(values) for values in self._listed().values())

    def propose(
        self, number: int, history: Sequence[tuple[Values, float | None]], sign: int
    ) -> Values:
        """Return the values of a trial.

        Grid and random know them from the number alone; tpe looks at the trials before.

        Args:
            number: of the trial, from 0.
            history: values and score of earlier trials; None for one without a score (yet).
            sign: 1 where a higher score is a better one, else -1.
        """
        if self.method == "grid":
            every = product(*self._listed().values())
            return dict(
                zip(self.space, next(v for i, v in enumerate(every) if i == number), strict=True)
            )
        if self.method == "random":
            rng = np.random.default_rng([self.seeds[0], number])
            return {
                key: values.draw(rng)
                if isinstance(values, Range)
                else values[rng.integers(len(values))]
                for key, values in self.space.items()
            }
        return self._suggested(number, history, sign)

    def corners(self) -> Iterator[Values]:
        """Yield values that show what is wrong with the space before anything is trained.

        All of a grid; else each value of each list, and the ends of each range.
        """
        if self.method == "grid":
            yield from (
                dict(zip(self.space, v, strict=True)) for v in product(*self._listed().values())
            )
            return
        ends = {
            key: (values.low, values.high) if isinstance(values, Range) else values
            for key, values in self.space.items()
        }
        first = {key: values[0] for key, values in ends.items()}
        yield from ({**first, key: value} for key, values in ends.items() for value in values)

    def _listed(self) -> dict[str, Sequence[Any]]:
        return {k: v.steps() if isinstance(v, Range) else v for k, v in self.space.items()}

    def _suggested(
        self, number: int, history: Sequence[tuple[Values, float | None]], sign: int
    ) -> Values:
        """Ask Optuna, which is told of all trials anew: so a sweep that was stopped goes on."""
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = int(np.random.SeedSequence([self.seeds[0], number]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        kinds = {key: _distribution(values) for key, values in self.space.items()}
        for values, score in history:
            told = {key: _told(self.space[key], value) for key, value in values.items()}
            state = TrialState.RUNNING if score is None else TrialState.COMPLETE
            value = None if score is None else sign * score
            study.add_trial(
                create_trial(params=told, distributions=kinds, value=value, state=state)
            )
        found = study.ask(kinds).params
        return {
            key: json.loads(found[key])
            if isinstance(values, tuple)
            else values._rounded(found[key])
            for key, values in self.space.items()
        }


def _distribution(values: Choices | Range) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(values, tuple):
        return CategoricalDistribution([json.dumps(value) for value in values])
    if values.whole:
        return IntDistribution(
            int(values.low), int(values.high), log=values.log, step=int(values.step or 1)
        )
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _told(values: Choices | Range, value: Any) -> Any:
    return json.dumps(value) if isinstance(values, tuple) else value


def read_sweep(path: Path) -> Sweep:
    """Read SPACE.yaml.

    Raises:
        ConfigError: with all mistakes, one a line, each with file and key.
    """
    try:
        return validated(Sweep, tree_at(path))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in explain(error, Sweep))) from None


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Return values as overrides of a configuration."""
    return [f"{key}={_written(value)}" for key, value in values.items()]


def _written(value: Any) -> str:
    """Write a value as YAML; a word as it is, unless YAML would take it for something else."""
    plain = isinstance(value, str) and value.isidentifier() and parse(value, "") == value
    return value if plain else json.dumps(value, ensure_ascii=False)
