"""tables: columns of any type as numbers, truths and moments; what is none is said.

Each function returns its values and which rows hold something else: bool [rows].
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from mtl.graphs._tables.parse import TRUTHS, parsed
from mtl.graphs._tables.plain import TYPES, exact, known, plain, without_nan
from mtl.graphs._tables.words import coded

Flagged = tuple[np.ndarray, np.ndarray]
MICROSECONDS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
MISSING = np.iinfo(np.int64).min


def numbers(array: pa.Array) -> Flagged:
    """Return float64 [rows]; NaN is missing."""
    kind = array.type
    bad = np.zeros(len(array), bool)
    if pa.types.is_string(kind):
        array, bad = parsed(array, pa.float64())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        array = array.cast(pa.int8()) if pa.types.is_boolean(kind) else array
        array = array.cast(pa.float64(), safe=False)
    elif not pa.types.is_floating(kind):
        return np.full(len(array), np.nan), known(array)
    return array.to_numpy(zero_copy_only=False).astype(np.float64), bad


def truths(array: pa.Array) -> Flagged:
    """Return float64 [rows] of 0 and 1; NaN is missing."""
    codes, words, bad = coded(array)
    truth = np.array([*(TRUTHS.get(word.strip().lower(), 2) for word in words), np.nan])
    values = truth[codes]  # the last one stands at -1: missing
    return np.where(values == 2, np.nan, values), bad | (values == 2)


def moments(array: pa.Array, unit: str = "microseconds") -> Flagged:
    """Return microseconds since 1970, int64 [rows]; MISSING is missing.

    Args:
        array: timestamps, texts that are dates, or integers.
        unit: of the integers.
    """
    bad = np.zeros(len(array), bool)
    if pa.types.is_string(array.type):
        array, bad = parsed(array, pa.timestamp("us"))
    if pa.types.is_timestamp(array.type):
        return _integers(array.cast(pa.int64())), bad
    if not pa.types.is_integer(array.type):
        return np.full(len(array), MISSING), known(array)
    values = _integers(array)
    if unit == "nanoseconds":
        return np.where(values == MISSING, values, values // 1000), bad
    factor = MICROSECONDS[unit]
    far = (values != MISSING) & (np.abs(values) > 2**62 // factor)
    return np.where((values == MISSING) | far, MISSING, values * factor), bad | far


def integers(array: pa.Array) -> Flagged:
    """Return int64 [rows]; MISSING is missing. A number that is whole is an integer."""
    bad = np.zeros(len(array), bool)
    if pa.types.is_string(array.type):
        array, bad = parsed(array, pa.int64())
    if pa.types.is_integer(array.type) or pa.types.is_null(array.type):
        return _integers(array), bad
    if not pa.types.is_floating(array.type):
        return np.full(len(array), MISSING), known(array)
    values, _ = numbers(array)
    whole = (np.floor(values) == values) & (np.abs(values) < 2**53)
    return np.where(whole, values, 0).astype(np.int64) + np.where(whole, 0, MISSING), ~(
        whole | np.isnan(values)
    )


def as_type(array: pa.Array, kind: str) -> tuple[pa.Array, np.ndarray]:
    """Return a column as a type of TYPES, and which rows hold something else."""
    if kind == "text":
        return exact(without_nan(array), pa.string())
    if kind == "number" and (pa.types.is_integer(array.type) or pa.types.is_decimal(array.type)):
        return array.cast(pa.float64(), safe=False), np.zeros(len(array), bool)
    array, large = plain(array)
    if array.type == TYPES[kind]:
        return array, large
    if pa.types.is_string(array.type):
        return parsed(array, TYPES[kind])
    readers: dict[str, Callable[[pa.Array], Flagged]] = {
        "integer": integers, "number": numbers, "boolean": truths, "timestamp": moments
    }  # fmt: skip
    values, bad = readers[kind](array)
    missing = np.isnan(values) if values.dtype.kind == "f" else values == MISSING
    return pa.array(values, mask=missing).cast(TYPES[kind]), bad | large


def _integers(array: pa.Array) -> np.ndarray:
    values = array.cast(pa.int64(), safe=True).fill_null(MISSING)
    return np.asarray(values.to_numpy(zero_copy_only=False))
