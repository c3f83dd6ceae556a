"""tables: columns of any type as numbers, truths, moments, words and lists; what is none is said.

Each function returns its values and which rows hold something else: bool [rows].
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl.graphs._tables.rules import moment_of

Flagged = tuple[np.ndarray, np.ndarray]
TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "text": pa.string(),
}
NO_VALUE = ("", "na", "n/a", "nan", "null", "none")
TRUTHS = {"true": 1, "t": 1, "yes": 1, "y": 1, "1": 1, "false": 0, "f": 0, "no": 0, "n": 0, "0": 0}
MICROSECONDS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
MISSING = np.iinfo(np.int64).min


def plain(column: Any) -> pa.Array:
    """Reduce the many types of columns to few: no dictionaries, decimals, zones or narrow types.

    Texts are `string`, integers `int64`, other numbers `double`, dates and times `timestamp[us]`
    in UTC; what holds nothing is a text.

    Raises:
        ArrowInvalid: integers beyond 2**63.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode())
    text = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if any(is_kind(kind) for is_kind in text):
        return array.cast(pa.string())
    if pa.types.is_integer(kind):
        return array.cast(pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return array.cast(pa.float64())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return array.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None),
                          safe=False).cast(pa.timestamp("us"))  # fmt: skip
    return array


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
    codes, words = coded(array)
    truth = np.array([*(TRUTHS.get(word.strip().lower(), 2) for word in words), np.nan])
    values = truth[codes]  # the last one stands at -1: missing
    return np.where(values == 2, np.nan, values), values == 2


def moments(array: pa.Array, unit: str) -> Flagged:
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


def coded(array: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return the number of each row's word, int64 [rows], -1 where it is missing, and the words.

    A number is the word that it is written as, 3.0 as `3`; an empty text is missing.
    """
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    written = [_word(value) for value in encoded.dictionary.to_pylist()]
    words = sorted({word for word in written if word})
    place = {word: number for number, word in enumerate(words)}
    return np.array([*(place.get(word, -1) for word in written), -1])[codes], words


def listed(array: pa.Array, separator: str) -> tuple[np.ndarray, pa.Array, np.ndarray]:
    """Return the members of lists: int64 [rows + 1] where each row's start, the members, bad rows.

    Args:
        array: lists, or texts with `separator` between the members, perhaps in brackets.
        separator: of texts.
    """
    if pa.types.is_string(array.type):
        text = pc.utf8_trim(pc.utf8_trim_whitespace(array), "[](){}")
        array = pc.split_pattern(text, separator)
        words = pc.utf8_trim(pc.list_flatten(array), " \t\r\n'\"")
        return *_without(array, words, pc.not_equal(words, "")), np.zeros(len(array), bool)
    kind = array.type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(kind) for is_kind in lists):
        empty = np.zeros(len(array) + 1, np.int64)
        return empty, pa.array([], pa.string()), known(array)
    members = plain(pc.list_flatten(array))
    return *_without(array, members, members.is_valid()), np.zeros(len(array), bool)


def as_type(array: pa.Array, kind: str) -> tuple[pa.Array, np.ndarray]:
    """Return a column as a type of TYPES, and which rows hold something else.

    Raises:
        ArrowException: the column's own type never becomes this one.
    """
    none = np.zeros(len(array), bool)
    if kind == "text":
        return plain(array.cast(pa.string())), none
    array = plain(array)
    return (
        parsed(array, TYPES[kind])
        if pa.types.is_string(array.type)
        else (array.cast(TYPES[kind]), none)
    )


def known(array: pa.Array) -> np.ndarray:
    """Say which rows hold anything: bool [rows]."""
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False))


def parsed(texts: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Read texts as another type; missing where they are none, or say `NA` and the like."""
    if pa.types.is_string(kind):
        return texts, np.zeros(len(texts), bool)
    texts = pc.utf8_trim_whitespace(texts)
    values = _all_at_once(texts, kind)
    if values is None:
        texts = pc.if_else(pc.is_in(pc.utf8_lower(texts), pa.array(NO_VALUE)), None, texts)
        values = _all_at_once(texts, kind)
    if values is not None:
        return values, np.zeros(len(texts), bool)
    encoded = texts.dictionary_encode()  # each text that is there is read once
    read = [_one(text, kind) for text in encoded.dictionary.to_pylist()]
    wrong = pa.array([value is None for value in read], pa.bool_()).take(encoded.indices)
    bad = wrong.fill_null(False).to_numpy(zero_copy_only=False)
    return pa.array(read, kind).take(encoded.indices), np.asarray(bad)


def _all_at_once(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Read texts as another type, or return None where one of them is something else."""
    kinds = [kind]
    if pa.types.is_timestamp(kind):
        kinds = [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
    for wanted in kinds:
        try:
            return texts.cast(wanted).cast(kind, safe=False)
        except pa.ArrowInvalid:
            continue
    return None


def _one(text: str, kind: pa.DataType) -> Any:
    """Read one text, or return None."""
    readers: dict[str, Callable[[str], Any]] = {"int64": int, "double": float}
    if "_" in text or not text.isascii():  # only Python takes those for numbers
        return None
    try:
        if kind == pa.bool_():
            return bool(TRUTHS[text.lower()])
        value = readers.get(str(kind), moment_of)(text)
        return value if kind != pa.int64() or abs(value) < 2**63 else None
    except (ValueError, KeyError):
        return None


def _word(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _integers(array: pa.Array) -> np.ndarray:
    values = array.cast(pa.int64(), safe=True).fill_null(MISSING)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _without(lists: pa.Array, members: pa.Array, keep: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Take members out of lists; return where each list starts, and the members left."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
    kept = keep.fill_null(False).to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(kept)])
    return before[ends], members.filter(pa.array(kept))
