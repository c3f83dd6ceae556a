"""The arrays of a .npz file, which may come from anywhere: none unpickled, none beyond memory."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np

from mtl.graphs._memory import memory_bytes


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays by name.

    Raises:
        Exception: the file is broken: any, of zipfile or numpy.
    """
    with ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > memory_bytes():
        raise ValueError(f"its {size:,} bytes are more than the memory")
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    if others := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
        raise ValueError(f"{others[0]!r} is no array")
    return found
