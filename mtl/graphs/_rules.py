"""What the values of a graph folder's arrays may be, and how those that may not be are named."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from mtl.errors import DataError
from mtl.graphs.schema import Kind

NOT_A_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Rule:
    """What every value of an array keeps.

    Attributes:
        valid: says of each value whether it is allowed.
        allowed: the same in words.
    """

    valid: Callable[[np.ndarray], np.ndarray]
    allowed: str


def between(low: int, high: int, meaning: str = "") -> Rule:
    """Allow whole numbers from low to high."""

    def valid(values: np.ndarray) -> np.ndarray:
        if values.size and low <= values.min() and values.max() <= high:  # ten times quicker
            return np.broadcast_to(np.True_, values.shape)
        return np.asarray((values >= low) & (values <= high))

    words = f"{low} to {high}" if low <= high else "nothing"
    return Rule(valid, words + meaning)


def label_rule(kind: Kind, num_classes: int) -> Rule:
    """Allow what a label of that kind allows."""
    if kind == "regression":
        return Rule(lambda values: ~np.isinf(values), "finite numbers and NaN")
    top = num_classes - 1 if kind == "class" else 1
    return Rule(between(-1, top).valid, f"0 to {top}, or -1 for missing")


def finite(dtype: str) -> Rule:
    """Allow finite numbers; of bfloat16, whose exponent is not all ones."""
    if dtype == "bfloat16":
        return Rule(lambda bits: (bits & 0x7F80) != 0x7F80, "finite numbers")
    return Rule(np.isfinite, "finite numbers")


SPLIT = Rule(between(0, 3).valid, "0 none, 1 train, 2 val, 3 test")
WEIGHT = Rule(lambda values: np.isfinite(values) & (values >= 0), "finite numbers of at least 0")
TIME = Rule(lambda values: values != NOT_A_TIME, "whole numbers above -2**63, which is no time")


class Wrong:
    """Rows that break a rule, as they are found: the first is named, all are counted.

    Args:
        where: the file, or what the rows are of.
        allowed: what would be right.
    """

    def __init__(self, where: str, allowed: str) -> None:
        self._where, self._allowed = where, allowed
        self._first, self._count = "", 0

    def look(self, good: np.ndarray, values: np.ndarray, start: int, dtype: str = "") -> None:
        """Look at some rows.

        Args:
            good: whether each value is right, [rows] or [rows, columns].
            values: of the same shape.
            start: number of the first row.
            dtype: of the values, where bfloat16 is stored in another.
        """
        if good.all():
            return
        row, *column = (int(i) for i in np.argwhere(~good)[0])
        place = "".join(f", column {i}" for i in column)
        value = _shown(values[(row, *column)], dtype)
        rows = good.reshape(len(good), -1).all(axis=1)
        self.add(f"row {start + row}{place}: {value}", int(np.count_nonzero(~rows)))

    def add(self, found: str, count: int = 1) -> None:
        """Add rows, the first of which is described."""
        self._first = self._first or found
        self._count += count

    def __bool__(self) -> bool:
        return self._count > 0

    def stop(self) -> None:
        """Raise if there is any.

        Raises:
            DataError: names the first and counts the others.
        """
        if self._count:
            more = f" (and {self._count - 1} more)" if self._count > 1 else ""
            raise DataError(f"{self._where}: {self._first}; allowed: {self._allowed}{more}")


def cast(values: Any, dtype: DTypeLike, rule: Rule, wrong: Wrong, start: int = 0) -> np.ndarray:
    """Convert values to what is stored, on the look-out for what does not fit or is not allowed.

    Args:
        values: [rows] or [rows, columns].
        dtype: that is stored.
        rule: for the values.
        wrong: told of those that break it.
        start: number of the first row.
    """
    array = np.asarray(values)
    assert array.dtype.kind in "biuf" or not array.size, array.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        stored = array.astype(dtype, copy=False)
    good = np.asarray(rule.valid(stored))
    if stored.dtype != array.dtype and stored.dtype.kind in "iu":
        good = good & (stored == array)  # a wrapped class would be another one
    wrong.look(good, array, start)
    return stored


def checked(values: Any, dtype: str, rule: Rule, where: str) -> np.ndarray:
    """Convert values to what is stored.

    Raises:
        DataError: some do not fit or are not allowed; names the first and counts the others.
    """
    wrong = Wrong(where, rule.allowed)
    stored = cast(values, dtype, rule, wrong)
    wrong.stop()
    return stored


def _shown(value: Any, dtype: str) -> str:
    if dtype == "bfloat16":
        value = (np.asarray(value, np.uint32) << 16).view(np.float32)[()]
    return str(value)
