"""tables: some rows of a table that know where they stand, and what is wrong with which of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mtl.errors import DataError

WIDEST_VALUE = 80


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one file.

    Attributes:
        file: where they are from.
        rows: number of each in its file, from 1; the line of names is not counted.
        first: number of the file's first row in the table, from 0.
        columns: by name.
    """

    file: str
    rows: np.ndarray
    first: int
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ordinals(self) -> np.ndarray:
        """Number of each row in the table, from 0, rows that `where` left out counted."""
        return np.asarray(self.rows + (self.first - 1))

    def slices(self, num_rows: int) -> "list[Batch]":
        """Cut into batches of at most so many rows."""
        return [
            Batch(
                self.file,
                self.rows[start : start + num_rows],
                self.first,
                {name: column.slice(start, num_rows) for name, column in self.columns.items()},
            )
            for start in range(0, len(self), num_rows)
        ]


@dataclass
class Fault:
    """One kind of mistake in one column: the first place and how many."""

    where: str
    value: str
    allowed: str
    count: int = 0
    files: set[str] = field(default_factory=set)


class Faults:
    """What is wrong with the rows of a table, told all at once."""

    def __init__(self) -> None:
        self._faults: dict[tuple[str, str], Fault] = {}

    def note(self, batch: Batch, bad: np.ndarray, column: str, allowed: str) -> None:
        """Remember the bad rows of a batch.

        Args:
            batch: the rows.
            bad: which of them; bool [rows].
            column: that is wrong.
            allowed: what would be right.
        """
        if not bad.any():
            return
        first = int(np.argmax(bad))
        if (column, allowed) not in self._faults:
            value = _value(batch.columns[column][first])
            where = f"{batch.file}: row {batch.rows[first]}: column {column!r}"
            self._faults[column, allowed] = Fault(where, shown(value), allowed)
        fault = self._faults[column, allowed]
        fault.count += int(np.count_nonzero(bad))
        fault.files.add(batch.file)

    def check(self) -> None:
        """Raise what was noted, if anything.

        Raises:
            DataError: one line for each kind of mistake.
        """
        if self._faults:
            raise DataError("\n".join(_line(fault) for fault in self._faults.values()))


def shown(value: Any) -> str:
    """Write a value for an error; an empty cell as such."""
    text = "no value" if value is None else repr(value)
    return text if len(text) <= WIDEST_VALUE else f"{text[: WIDEST_VALUE - 4]} ..."


def such_rows(count: int) -> str:
    """Say how many rows are wrong."""
    return "1 such row" if count == 1 else f"{count} such rows"


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):  # a time that Python cannot hold
        return scalar.cast(pa.string()).as_py()


def _line(fault: Fault) -> str:
    files = f" in {len(fault.files)} files" if len(fault.files) > 1 else ""
    rows = such_rows(fault.count)
    return f"{fault.where}: {fault.value}; allowed: {fault.allowed} ({rows}{files})"
