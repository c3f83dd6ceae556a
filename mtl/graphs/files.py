"""The files of a graph folder: each is there, as graph.json says, and inside the folder."""

import math
import mmap
import struct
import sys
from pathlib import Path

import numpy as np

from mtl.errors import DataError, RefusedError
from mtl.graphs._agreement import check_agreement
from mtl.graphs.schema import MANIFEST, ArrayInfo, GraphInfo, read_schema

_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # mmap names it from Python 3.13 on


def check_files(folder: Path) -> GraphInfo:
    """Check graph.json and that each array is there as it says; reads no array.

    Raises:
        DataError: names the key or file and what is allowed.
    """
    info = read_schema(folder)
    check_agreement(folder / MANIFEST, info)
    for array in info.arrays():
        _check_file(folder, array)
    return info


def open_array(folder: Path, info: ArrayInfo, *, read_ahead: bool = True) -> np.ndarray:
    """Map a checked array: pages shared with every process, writes private.

    Nothing is reserved for those writes: else no file larger than the memory could be mapped.

    Args:
        folder: of the graph.
        info: of the array.
        read_ahead: whether the system may read pages around those that are asked for. Where a graph
            exceeds the memory that drives out what is still needed.
    """
    with (folder / info.file).open("rb") as file:
        pages = mmap.mmap(
            file.fileno(),
            0,
            flags=mmap.MAP_PRIVATE | _MAP_NORESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )
    if not read_ahead:
        pages.madvise(mmap.MADV_RANDOM)
    count = math.prod(info.shape)
    dtype = np.dtype(info.stored)
    offset = len(pages) - count * dtype.itemsize
    return np.frombuffer(pages, dtype, count, offset).reshape(info.shape)


def _check_file(folder: Path, array: ArrayInfo) -> None:
    path = folder / array.file
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; {MANIFEST} names it")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RefusedError(f"{path}: leads to {path.resolve()}, outside the graph folder")
        _check_header(path, array)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _check_header(path: Path, array: ArrayInfo) -> None:
    """Compare the header's text: what we write is what we map, and no header is ever parsed."""
    stored = np.dtype(array.stored)
    wanted = f"{{'descr': {stored.str!r}, 'fortran_order': False, 'shape': {array.shape}, }}"
    with path.open("rb") as file:
        prefix = file.read(10)
        if len(prefix) < 10 or prefix[:8] != b"\x93NUMPY\x01\x00":
            raise DataError(f"{path}: not a .npy file of version 1.0")
        header = file.read(*struct.unpack("<H", prefix[8:])).decode("latin1")
        offset = file.tell()
    if header.rstrip() != wanted:
        raise DataError(f"{path}: its header is {header.rstrip()[:200]!r}; allowed: {wanted!r}")
    size = offset + stored.itemsize * math.prod(array.shape)
    if path.stat().st_size != size:
        raise DataError(f"{path}: {path.stat().st_size} bytes; {array.shape} takes {size}")
