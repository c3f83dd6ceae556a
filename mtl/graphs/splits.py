"""Splits that sources share: uint8 per node, 0 none, 1 train, 2 val, 3 test."""

import numpy as np


def random_split(num_nodes: int, train: float, rng: np.random.Generator) -> np.ndarray:
    """Draw uint8 [num_nodes]: a share `train`, then 20 % val and 20 % test, the rest none."""
    ends = np.round(num_nodes * np.cumsum([train, 0.2, 0.2])).astype(int)
    rank = rng.permutation(num_nodes)
    place = np.searchsorted(ends, rank, side="right")
    return np.where(place < 3, place + 1, 0).astype(np.uint8)
