"""Splits that sources share: uint8 per node or edge, 0 none, 1 train, 2 val, 3 test."""

import numpy as np

NONE, TRAIN, VAL, TEST = range(4)


def random_split(
    num_nodes: int, train: float, rng: np.random.Generator, *, val: float = 0.2, test: float = 0.2
) -> np.ndarray:
    """Draw uint8 [num_nodes]: exact shares `train`, `val` and `test`, the rest none."""
    ends = np.round(num_nodes * np.cumsum([train, val, test])).astype(int)
    rank = rng.permutation(num_nodes)
    place = np.searchsorted(ends, rank, side="right")
    return np.where(place < 3, place + 1, 0).astype(np.uint8)


def hashed_split(
    rows: np.ndarray, train: float, seed: int, *, val: float = 0.2, test: float = 0.2
) -> np.ndarray:
    """Draw uint8 [rows] for rows that never stand in memory together.

    Each row's number and the seed alone decide, so shares are met on average.
    """
    with np.errstate(over="ignore"):
        mixed = mix(rows.astype(np.uint64) + mix(np.array([seed], np.uint64)))
    drawn = (mixed >> np.uint64(11)) * 2.0**-53
    place = np.searchsorted(np.cumsum([train, val, test]), drawn, side="right")
    return np.where(place < 3, place + 1, 0).astype(np.uint8)


def per_class_split(
    classes: np.ndarray, train: int, val: int, rng: np.random.Generator, *, test: int | None = None
) -> np.ndarray:
    """Draw uint8 [nodes]: so many of each class train and validate; `test`, or all others, test.

    A class below 0 is missing: such nodes are in none.
    """
    split = np.zeros(len(classes), np.uint8)
    for number in range(int(classes.max(initial=-1)) + 1):
        drawn = rng.permutation(np.flatnonzero(classes == number))
        end = len(drawn) if test is None else train + val + test
        split[drawn[:train]] = TRAIN
        split[drawn[train : train + val]] = VAL
        split[drawn[train + val : end]] = TEST
    return split


def temporal_split(times: np.ndarray, val_from: int, test_from: int) -> np.ndarray:
    """Return uint8 [rows]: rows before `val_from` train, those from `test_from` test."""
    return np.where(times < val_from, TRAIN, np.where(times < test_from, VAL, TEST)).astype(
        np.uint8
    )


def mix(x: np.ndarray) -> np.ndarray:
    """Scatter 64 bits (splitmix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
