"""tables: texts as numbers, truths and dates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtl.graphs._tables.plain import without_nan
from mtl.graphs._tables.rules import moment_of

NO_VALUE = ("", "na", "n/a", "nan", "null", "none")
TRUTHS = {"true": 1, "t": 1, "yes": 1, "y": 1, "1": 1, "false": 0, "f": 0, "no": 0, "n": 0, "0": 0}


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
        return without_nan(values), np.zeros(len(texts), bool)
    encoded = texts.dictionary_encode()  # each text that is there is read once
    read = [_one(text, kind) for text in encoded.dictionary.to_pylist()]
    wrong = pa.array([value is None for value in read], pa.bool_()).take(encoded.indices)
    bad = wrong.fill_null(False).to_numpy(zero_copy_only=False)
    return without_nan(pa.array(read, kind).take(encoded.indices)), np.asarray(bad)


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
