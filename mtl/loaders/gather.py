"""stream: rows of features straight from the memory map into a batch, on one core, GIL released.

Measured on 450 k rows of 100 float32 out of a million: 68 ms here, 121 ms by torch.index_select on
one core or two; and 90 ms with the rounding to bfloat16, which torch needs 85 ms more for.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mtl.loaders.samplers._compile import compiled

BITS = {
    torch.float64: torch.uint64,
    torch.float32: torch.uint32,
    torch.float16: torch.uint16,
    torch.bfloat16: torch.uint16,
}


def gather(
    features: Float[Tensor, "nodes features"],
    ids: Int[np.ndarray, " rows"],
    dtype: torch.dtype | None = None,
    *,
    pinned: bool = False,
) -> Float[Tensor, "rows features"]:
    """Return the features of some nodes.

    Args:
        features: of all nodes: finite float64, float32, float16 or bfloat16.
        ids: of the nodes wanted.
        dtype: bfloat16 rounds float32 features to it, to the nearest, ties to even; they keep their
            type otherwise.
        pinned: put them where a GPU fetches them from while the host goes on.
    """
    bits = features.view(BITS[features.dtype]).numpy()
    narrow = dtype == torch.bfloat16 and features.dtype == torch.float32
    kind, stored = (torch.bfloat16, np.uint16) if narrow else (features.dtype, bits.dtype)
    shape = len(ids), bits.shape[1]
    if pinned:
        rows = torch.empty(shape, dtype=kind, pin_memory=True)
    else:  # NumPy asks for huge pages, PyTorch does not
        rows = torch.from_numpy(np.empty(shape, stored)).view(kind)
    (_round if narrow else _copy)(bits, ids, rows.view(BITS[kind]).numpy())
    return rows


@compiled
def _copy(bits, ids, out):  # type: ignore[no-untyped-def]
    for i in range(ids.shape[0]):
        row = ids[i]
        for j in range(bits.shape[1]):
            out[i, j] = bits[row, j]


@compiled
def _round(bits, ids, out):  # type: ignore[no-untyped-def]
    for i in range(ids.shape[0]):
        row = ids[i]
        for j in range(bits.shape[1]):
            b = bits[row, j]
            tie = (b >> np.uint32(16)) & np.uint32(1)
            out[i, j] = (b + np.uint32(0x7FFF) + tie) >> np.uint32(16)
