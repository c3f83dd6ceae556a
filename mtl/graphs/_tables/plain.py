"""tables: columns of any type as one of a few; what does not fit is said."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "text": pa.string(),
}


def plain(array: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Reduce the many types of columns to few: no dictionaries, decimals, zones or narrow types.

    Texts are `string`, whole numbers `int64`, other numbers `double` without NaN, dates and times
    `timestamp[us]` in UTC; what holds nothing is a text. What does not fit 64 bits is said.
    """
    kind, none = array.type, np.zeros(len(array), bool)
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    text = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if any(is_kind(kind) for is_kind in text):
        return array.cast(pa.string()), none
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        return exact(array, pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return without_nan(array.cast(pa.float64())), none
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        utc = pa.timestamp("us", getattr(kind, "tz", None))  # dates have neither zone nor unit
        times, bad = exact(array, utc, safe=getattr(kind, "unit", None) != "ns")
        return times.cast(pa.timestamp("us")), bad
    return array, none


def exact(array: pa.Array, kind: pa.DataType, *, safe: bool = True) -> tuple[pa.Array, np.ndarray]:
    """Cast, or say which rows do not fit, found by halving."""
    try:
        return array.cast(kind, safe=safe), np.zeros(len(array), bool)
    except pa.ArrowNotImplementedError:  # no list is a text
        return pa.nulls(len(array), kind), known(array)
    except pa.ArrowInvalid:
        if len(array) <= 1:
            return pa.nulls(1, kind), known(array)
    middle = len(array) // 2
    halves = [exact(half, kind) for half in (array[:middle], array[middle:])]
    values, bad = zip(*halves, strict=True)
    return pa.concat_arrays(values), np.concatenate(bad)


def without_nan(array: pa.Array) -> pa.Array:
    """Take NaN for missing; Arrow and DuckDB take it for a number, DuckDB for the greatest."""
    if not pa.types.is_floating(array.type):
        return array
    nan = pc.is_nan(array)
    return pc.if_else(nan, None, array) if pc.any(nan).as_py() else array


def known(array: pa.Array) -> np.ndarray:
    """Say which rows hold anything: bool [rows]."""
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
