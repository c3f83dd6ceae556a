"""Columns of whole numbers, such as kinds of atoms, as features: a column for each category."""

from collections.abc import Callable

import numpy as np

Describe = Callable[[int, int, int, str], Exception]
MAX_CATEGORIES = 4096


def one_hot(values: np.ndarray, error: Describe) -> np.ndarray:
    """Return float32 [rows, categories]: for each column one feature for each of its values.

    Args:
        values: whole numbers [rows, columns], counted from 0 in each column.
        error: makes the error for a number that is no category, from its row, its column, how many
            there are, and what is allowed.
    """
    wrong = (values < 0) | (values >= MAX_CATEGORIES)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        allowed = f"0 to {MAX_CATEGORIES - 1}, or floating-point numbers"
        raise error(row, column, int(np.count_nonzero(wrong)), allowed)
    widths = [int(column.max(initial=0)) + 1 for column in values.T]
    features = np.zeros((len(values), sum(widths)), np.float32)
    rows, starts = np.arange(len(values)), np.cumsum([0, *widths])
    for start, column in zip(starts[:-1], values.T, strict=True):
        features[rows, start + column.astype(np.int64)] = 1
    return features
