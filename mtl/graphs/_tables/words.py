"""tables: columns of any type as words, and as lists of words and numbers; what is none is said."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl.graphs._tables.parse import parsed
from mtl.graphs._tables.plain import TYPES, known, plain


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


def _split(texts: pa.Array, separator: str) -> pa.Array:
    """Return the lists that texts are, an empty one for `[]`."""
    texts = pc.replace_substring_regex(texts, r"(?s)^\s*\[(.*)\]\s*$", r"\1")
    texts = pc.utf8_trim_whitespace(texts)
    aligned = separator == " "  # numbers, often with several spaces
    lists = pc.split_pattern_regex(texts, " +") if aligned else pc.split_pattern(texts, separator)
    return pc.if_else(pc.equal(texts, ""), pa.scalar([], lists.type), lists)


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
