"""Features as a graph folder stores them: float32, float16 or the bits of bfloat16."""

from pathlib import Path
from typing import cast

import numpy as np

from mtl.graphs._chunks import Chunks, FeatureDtype
from mtl.graphs._npy import NpyFile, slices
from mtl.graphs._report import Report
from mtl.graphs.schema import ArrayInfo


def stored(features: np.ndarray) -> np.ndarray:
    """Keep float16 and the bits of bfloat16, and make all else float32."""
    if features.dtype.name in ("float16", "uint16"):
        return features
    with np.errstate(over="ignore"):  # whoever checks the features finds what became infinite
        return features.astype(np.float32, copy=False)


def dtype_of(features: np.ndarray) -> FeatureDtype:
    """Return the dtype in graph.json of features that are as they are stored."""
    name = "bfloat16" if features.dtype == np.uint16 else features.dtype.name
    return cast(FeatureDtype, name)


def save_features(
    path: Path, num_rows: int, features: np.ndarray | Chunks, report: Report, what: str
) -> ArrayInfo:
    """Write features, chunk by chunk.

    Args:
        path: of the file.
        num_rows: how many rows there must be.
        features: [num_rows, num_features], or the same in chunks.
        report: is told how many rows are written.
        what: they are.

    Raises:
        DataError: there are more or fewer rows.
    """
    if not isinstance(features, Chunks):
        array = stored(features)
        parts = (array[part] for part in slices(len(array), array[:1].nbytes))
        features = Chunks(array.shape[1], dtype_of(array), parts)
    with NpyFile(path, features.dtype, (num_rows, features.num_features)) as file:
        for chunk in features.chunks:
            file.append(chunk)
            report(what, file.num_rows, num_rows)
        return file.finish()
