"""tables: the kinds of feature columns and their options."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mtl.graphs._tables.tagged import Tagged

if TYPE_CHECKING:
    from mtl.graphs._tables.encoder import Encoder

Unit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]


@dataclass(frozen=True, kw_only=True)
class Feature(Tagged):
    """What becomes of a column; statistics come from the training rows alone."""

    column: str | None = None
    """Column of the table; default: the name of the feature."""

    @abstractmethod
    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column; Arrow is not needed to read a configuration."""


@dataclass(frozen=True, kw_only=True)
class Numeric(Feature):
    """A number; a missing one becomes 0, and 1 in a column of its own if training has missing."""

    kind: Literal["numeric"] = "numeric"
    """A number a row."""
    transform: Literal["standard", "quantile", "log", "none"] = "standard"
    """standard: (x - mean) / deviation; quantile: the share of training values below, from -1 to 1;
    log: sign(x) log(1 + |x|), then as standard; none: as it is."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_numbers import NumericEncoder

        return NumericEncoder(column, self.transform)


@dataclass(frozen=True, kw_only=True)
class Categorical(Feature):
    """One column a value, 1 where the row has it."""

    kind: Literal["categorical"] = "categorical"
    """A word or number of a few."""
    max_categories: Annotated[int, Field(ge=1, le=100_000)] = 50
    """The most frequent values of the training rows get columns, the rest share one more."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_words import CategoricalEncoder

        return CategoricalEncoder(column, self.max_categories)


@dataclass(frozen=True, kw_only=True)
class Boolean(Feature):
    """1 for true, 0 for false; a missing one as in `numeric`."""

    kind: Literal["boolean"] = "boolean"
    """True or false, 1 or 0, yes or no."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_numbers import BooleanEncoder

        return BooleanEncoder(column)


@dataclass(frozen=True, kw_only=True)
class Bag(Feature):
    """A list of words or ids: 1 in the bucket of each member."""

    kind: Literal["bag"] = "bag"
    """A list of any length."""
    num_buckets: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Columns. Integers from 0 to num_buckets - 1 have their own; all else is hashed."""
    separator: Annotated[str, Field(min_length=1)] = ","
    """Stands between the members where the list is a text, as in CSV."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_words import BagEncoder

        return BagEncoder(column, self.num_buckets, self.separator)


@dataclass(frozen=True, kw_only=True)
class Vector(Feature):
    """A list of numbers, the same length in every row, as it is; a missing one becomes 0."""

    kind: Literal["vector"] = "vector"
    """A list of fixed length, such as an embedding."""
    separator: Annotated[str, Field(min_length=1)] = ","
    """Stands between the numbers where the list is a text, as in CSV."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_words import VectorEncoder

        return VectorEncoder(column, self.separator)


@dataclass(frozen=True, kw_only=True)
class Timestamp(Feature):
    """Standardised seconds, and sine and cosine of hour, day of week and month (UTC)."""

    kind: Literal["timestamp"] = "timestamp"
    """A point in time."""
    unit: Unit = "seconds"
    """Of a column of integers, which count from 1970."""

    def encoder(self, column: str) -> "Encoder":
        """Make the encoder of its column."""
        from mtl.graphs._tables.encode_numbers import TimestampEncoder

        return TimestampEncoder(column, self.unit)
