"""The user's ids of a graph folder: strings are UTF-8, and all ids of a type are different."""

from collections.abc import Callable, Iterator

import numpy as np

from mtl.graphs._contents import Contents
from mtl.graphs._edge_checks import check_pointer
from mtl.graphs._npy import CHUNK_BYTES
from mtl.graphs._rules import Wrong
from mtl.graphs.files import open_array
from mtl.graphs.schema import IdsInfo

CHECKING_BYTES = 32
"""Of a byte of an id while it is checked."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


def check_ids(contents: Contents, ids: IdsInfo) -> None:
    """Check the ids of one node type.

    Raises:
        DataError: names the file, the row and the id.
    """
    different = contents.wrong(ids.values, "ids that are all different")
    if ids.offsets is None:
        whole = contents.whole(ids.values)
        _check_different(whole.view(np.uint64), lambda row: int(whole[row]), different)
        return
    offsets = check_pointer(contents, ids.offsets, ids.values.shape[0])
    keys = _check_strings(contents, ids, offsets)
    values = open_array(contents.folder, ids.values)

    def string(row: int) -> str:
        return values[offsets[row] : offsets[row + 1]].tobytes().decode()

    _check_different(keys, string, different)


def _check_strings(contents: Contents, ids: IdsInfo, offsets: np.ndarray) -> np.ndarray:
    """Return a hash of each string."""
    keys = np.zeros(len(offsets) - 1, np.uint64)
    wrong = contents.wrong(ids.values, "UTF-8")
    cuts = list(_cuts(offsets))
    parts = (slice(*offsets[[first, last]].tolist()) for first, last in cuts)
    for (first, last), (start, data) in zip(cuts, contents.chunks(ids.values, parts), strict=True):
        starts = offsets[first : last + 1] - start
        keys[first:last] = _hashes(data, starts)
        _check_utf8(data, starts, first, wrong)
    wrong.stop()
    return keys


def _cuts(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut strings into runs of about as many bytes each."""
    first = 0
    while first < len(offsets) - 1:
        room = offsets[first] + CHUNK_BYTES // CHECKING_BYTES
        last = max(int(np.searchsorted(offsets, room, side="right")) - 1, first + 1)
        yield first, last
        first = last


def _check_utf8(data: np.ndarray, starts: np.ndarray, first: int, wrong: Wrong) -> None:
    """Find strings that are no text: where all together are, none begins inside a character."""
    text = data.tobytes()
    begins = starts[:-1][np.diff(starts) > 0]
    if _is_text(text) and not (data[begins] & 0xC0 == 0x80).any():
        return
    for row in range(len(starts) - 1):
        word = text[starts[row] : starts[row + 1]]
        if not _is_text(word):
            wrong.add(f"row {first + row}: {word!r}")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _hashes(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return a number of each string, as good as different for different strings."""
    lengths = np.diff(starts)
    powers = np.multiply.accumulate(np.full(lengths.max(initial=0), _BASE))
    place = np.arange(len(data)) - np.repeat(starts[:-1], lengths)
    summands = (data + np.uint64(1)) * powers[place]
    hashes = np.zeros(len(lengths), np.uint64)
    if len(data):
        hashes[lengths > 0] = np.add.reduceat(summands, starts[:-1][lengths > 0])
    return hashes


def _check_different(keys: np.ndarray, name: Callable[[int], object], wrong: Wrong) -> None:
    """Find rows of the same id, which have the same key."""
    ordered = np.sort(keys)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    rows = np.flatnonzero(np.isin(keys, twice)) if len(twice) else twice
    seen: dict[object, int] = {}
    for row in map(int, rows):
        before = seen.setdefault(name(row), row)
        if before != row:
            wrong.add(f"row {row}: {name(row)!r}, as in row {before}", len(rows) - len(twice))
            break
    wrong.stop()
