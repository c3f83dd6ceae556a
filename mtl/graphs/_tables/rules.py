"""tables: the rules that split rows into training, validation and test, and their options."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator

from mtl.graphs._tables.tagged import Tagged

ShareOf1 = Annotated[float, Field(ge=0, le=1)]


def _moment(value: Any) -> int | str:
    """Check that a value is an integer or a date."""
    if type(value) is int:
        return value
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        message = f"expected a date such as 2024-01-31 or an integer, found {value!r}"
        raise ValueError(message) from None
    return str(value)


def moment_of(value: int | str) -> int:
    """Return an integer as it is, a date in microseconds since 1970 (UTC if it names no zone)."""
    if isinstance(value, int):
        return value
    date = datetime.fromisoformat(value)
    since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


Moment = Annotated[int | str, PlainValidator(_moment)]


@dataclass(frozen=True, kw_only=True)
class Split(Tagged):
    """Which rows train, validate and test."""

    default: ClassVar[str | None] = "column"


@dataclass(frozen=True, kw_only=True)
class ColumnSplit(Split):
    """As a column says."""

    kind: Literal["column"] = "column"
    """The table says it."""
    column: str
    """Column of `train`, `val`, `test`, or 1, 2, 3; empty, `none` or 0 is in none of them."""


@dataclass(frozen=True, kw_only=True)
class RandomSplit(Split):
    """At random, by shares."""

    kind: Literal["random"] = "random"
    """Drawn with a seed."""
    train: ShareOf1 = 0.6
    """Share of the rows that train."""
    val: ShareOf1 = 0.2
    """Share of the rows that validate."""
    test: ShareOf1 = 0.2
    """Share of the rows that test; what is left is in none."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another one gives another split."""


@dataclass(frozen=True, kw_only=True)
class TemporalSplit(Split):
    """The past trains, the future tests."""

    kind: Literal["temporal"] = "temporal"
    """By time."""
    column: str | None = None
    """Column of timestamps or integers; default: the table's `time`. A row without is in none."""
    val_from: Moment
    """Rows before it train."""
    test_from: Moment
    """Rows from `val_from` and before it validate; those from it test."""


@dataclass(frozen=True, kw_only=True)
class PerClassSplit(Split):
    """So many rows of each class of a label; rows without the label are in none."""

    kind: Literal["per_class"] = "per_class"
    """The same number of each class."""
    label: str
    """A class label of the same table."""
    train: Annotated[int, Field(ge=1)]
    """Rows of each class that train."""
    val: Annotated[int, Field(ge=0)]
    """Rows of each class that validate."""
    test: Annotated[int, Field(ge=0)] | None = None
    """Rows of each class that test; default: all that are left."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another one gives another split."""
