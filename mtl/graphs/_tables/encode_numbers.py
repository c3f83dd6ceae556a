"""tables: numbers, truths and times as columns of features."""

import numpy as np
import pyarrow as pa

from mtl.graphs._tables.encoder import Encoder
from mtl.graphs._tables.statistics import Moments, Ranks
from mtl.graphs._tables.values import MISSING, moments, numbers, truths

DAY = 86_400_000_000  # microseconds


class NumericEncoder(Encoder):
    """A number."""

    allowed = "a finite number, or nothing"

    def __init__(self, column: str, transform: str) -> None:
        super().__init__(column)
        self._transform = transform
        self._statistics = Ranks() if transform == "quantile" else Moments()

    _width = 1

    def _learn(self, array: pa.Array) -> np.ndarray:
        values = self._squeezed(numbers(array)[0])
        self._statistics.add(values[np.isfinite(values)])
        return np.asarray(np.isnan(values))

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, bad = numbers(array)
        missing = np.isnan(values)
        scaled = self._squeezed(values)
        if self._transform != "none":
            scaled = self._statistics.scaled(scaled)
        out[:, 0] = np.where(missing, 0, scaled)
        return missing, bad | np.isinf(values)

    def _squeezed(self, values: np.ndarray) -> np.ndarray:
        if self._transform != "log":
            return values
        return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


class BooleanEncoder(Encoder):
    """1 for true, 0 for false."""

    allowed = "true or false, yes or no, 1 or 0, or nothing"
    _width = 1

    def _learn(self, array: pa.Array) -> np.ndarray:
        return np.asarray(np.isnan(truths(array)[0]))

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, bad = truths(array)
        out[:, 0] = np.nan_to_num(values)
        return np.isnan(values), bad


class TimestampEncoder(Encoder):
    """Standardised time, and sine and cosine of time of day, day of week and month."""

    allowed = "a date and time such as 2024-01-31T12:00:00, an integer, or nothing"
    _width = 7

    def __init__(self, column: str, unit: str) -> None:
        super().__init__(column)
        self._unit, self._statistics = unit, Moments()

    def _learn(self, array: pa.Array) -> np.ndarray:
        times, _ = moments(array, self._unit)
        self._statistics.add(times[times != MISSING] / 1e6)
        return np.asarray(times == MISSING)

    def _encode(self, array: pa.Array, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times, bad = moments(array, self._unit)
        missing = times == MISSING
        times = np.where(missing, 0, times)
        out[:, 0] = self._statistics.scaled(times / 1e6)
        month = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        weekday = times // DAY + 3  # 1970 began on a Thursday
        turns = (times % DAY / DAY, weekday % 7 / 7, month % 12 / 12)
        for number, turn in enumerate(turns):
            out[:, 1 + 2 * number] = np.sin(2 * np.pi * turn)
            out[:, 2 + 2 * number] = np.cos(2 * np.pi * turn)
        out[missing] = 0
        return missing, bad
