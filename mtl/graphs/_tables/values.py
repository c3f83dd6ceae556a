"""tables: columns of any type as numbers, truths, moments, words and lists; what is none is said.

Each function returns its values and which rows hold something else: bool [rows].
"""

from collections.abc import Callable, Sequence
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
        return _exact(array, pa.int64())
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return _without_nan(array.cast(pa.float64())), none
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        utc = pa.timestamp("us", getattr(kind, "tz", None))  # dates have neither zone nor unit
        times, bad = _exact(array, utc, safe=getattr(kind, "unit", None) != "ns")
        return times.cast(pa.timestamp("us")), bad
    return array, none


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


def coded(array: pa.Array) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the number of each row's word, int64 [rows], -1 where it is missing, words, bad rows.

    A number is the word that it is written as, 3.0 as `3`; an empty text is missing; a list is bad.
    """
    if pa.types.is_nested(array.type):
        return np.full(len(array), -1), [], known(array)
    encoded = array.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    written = _written(encoded.dictionary)
    words = sorted({word for word in written if word})
    place = {word: number for number, word in enumerate(words)}
    codes = np.array([*(place.get(word, -1) for word in written), -1])[codes]
    return codes, words, np.zeros(len(array), bool)


def respelled(words: Sequence[str], kind: pa.DataType) -> list[str]:
    """Return words as `coded` says them of a column of a type: `1.50` is `1.5` of numbers."""
    if kind not in TYPES.values():
        return list(words)
    values, _ = parsed(pa.array(words, pa.string()), kind)
    return [new or word for new, word in zip(_written(values), words, strict=True)]


def listed(array: pa.Array, separator: str) -> tuple[np.ndarray, pa.Array, np.ndarray]:
    """Return the members of lists: int64 [rows + 1] where each row's start, the members, bad rows.

    A member may be missing, or an empty text.

    Args:
        array: lists, or texts with `separator` between the members, perhaps in brackets.
        separator: of texts.
    """
    bad = np.zeros(len(array), bool)
    is_text = pa.types.is_string(array.type)
    if is_text:
        array = _split(array, separator)
    kind = array.type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(kind) for is_kind in lists):
        empty = np.zeros(len(array) + 1, np.int64)
        return empty, pa.array([], pa.string()), known(array)
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    starts = np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])
    members, large = plain(pc.list_flatten(array))
    if is_text:
        members = pc.utf8_trim(members, " \t\r\n'\"")
    bad[np.repeat(np.arange(len(array)), lengths)[large]] = True
    return starts, members, bad


def as_type(array: pa.Array, kind: str) -> tuple[pa.Array, np.ndarray]:
    """Return a column as a type of TYPES, and which rows hold something else."""
    if kind == "text":
        return _exact(_without_nan(array), pa.string())
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
        return _without_nan(values), np.zeros(len(texts), bool)
    encoded = texts.dictionary_encode()  # each text that is there is read once
    read = [_one(text, kind) for text in encoded.dictionary.to_pylist()]
    wrong = pa.array([value is None for value in read], pa.bool_()).take(encoded.indices)
    bad = wrong.fill_null(False).to_numpy(zero_copy_only=False)
    return _without_nan(pa.array(read, kind).take(encoded.indices)), np.asarray(bad)


def _exact(array: pa.Array, kind: pa.DataType, *, safe: bool = True) -> tuple[pa.Array, np.ndarray]:
    """Cast, or say which rows do not fit, found by halving."""
    try:
        return array.cast(kind, safe=safe), np.zeros(len(array), bool)
    except pa.ArrowNotImplementedError:  # no list is a text
        return pa.nulls(len(array), kind), known(array)
    except pa.ArrowInvalid:
        if len(array) <= 1:
            return pa.nulls(1, kind), known(array)
    middle = len(array) // 2
    halves = [_exact(half, kind) for half in (array[:middle], array[middle:])]
    values, bad = zip(*halves, strict=True)
    return pa.concat_arrays(values), np.concatenate(bad)


def _without_nan(array: pa.Array) -> pa.Array:
    """Take NaN for missing; Arrow and DuckDB take it for a number, DuckDB for the greatest."""
    if not pa.types.is_floating(array.type):
        return array
    nan = pc.is_nan(array)
    return pc.if_else(nan, None, array) if pc.any(nan).as_py() else array


def _split(texts: pa.Array, separator: str) -> pa.Array:
    """Return the lists that texts are, an empty one for `[]`."""
    texts = pc.replace_substring_regex(texts, r"(?s)^\s*\[(.*)\]\s*$", r"\1")
    texts = pc.utf8_trim_whitespace(texts)
    aligned = separator == " "  # numbers, often with several spaces
    lists = pc.split_pattern_regex(texts, " +") if aligned else pc.split_pattern(texts, separator)
    return pc.if_else(pc.equal(texts, ""), pa.scalar([], lists.type), lists)


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


def _written(array: pa.Array) -> list[str]:
    """Return the word of each value; "" where it is missing."""
    if pa.types.is_timestamp(array.type):  # Python knows no year after 9999
        texts = [text or "" for text in array.cast(pa.string()).to_pylist()]
        return [text.removesuffix(".000000").removesuffix(" 00:00:00") for text in texts]
    return [_word(value) for value in array.to_pylist()]


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _integers(array: pa.Array) -> np.ndarray:
    values = array.cast(pa.int64(), safe=True).fill_null(MISSING)
    return np.asarray(values.to_numpy(zero_copy_only=False))
