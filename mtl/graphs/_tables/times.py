"""tables: when nodes and edges came to be, all of a graph on one clock."""

import numpy as np

from mtl.errors import ConfigError
from mtl.graphs._tables.batch import Batch, Faults
from mtl.graphs._tables.plain import known
from mtl.graphs._tables.splitting import is_number
from mtl.graphs._tables.values import MISSING, integers, moments


class Clock:
    """What the times of a graph are: dates or integers, the same for all tables."""

    def __init__(self) -> None:
        self._first: tuple[str, str] | None = None

    def times(self, batch: Batch, column: str, path: str, faults: Faults) -> np.ndarray:
        """Return int64 [rows]: microseconds since 1970, or integers as they are.

        Raises:
            ConfigError: another table has times of the other kind.
        """
        array = batch.columns[column]
        kind = "integers" if is_number(array) else "dates"
        if known(array).any():  # else nothing says what it is
            other_path, other = self._first = self._first or (path, kind)
            if kind != other:
                raise ConfigError(
                    f"{path}.time: {column!r} holds {kind}, but the times of {other_path} are "
                    f"{other}: they cannot be compared"
                )
        times, bad = integers(array) if kind == "integers" else moments(array)
        faults.note(batch, bad | (times == MISSING), column, "a date or an integer in every row")
        return times
