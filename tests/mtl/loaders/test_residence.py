"""Wherever features live, a batch gets the same bits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mtl.loaders import residence
from mtl.loaders.gather import BITS, gather
from mtl.loaders.residence import OnHost, Table

CPU = torch.device("cpu")
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
IDS = st.lists(st.integers(0, 6), max_size=9)


@given(arrays(np.float32, (7, 3), elements=FINITE), IDS, st.sampled_from([None, torch.bfloat16]))
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_rows_are_those_of_the_map_to_the_last_bit(chunk, stored, values, ids, dtype):
    features, nodes = torch.from_numpy(values).to(stored), torch.tensor(ids, dtype=torch.long)
    wanted = gather(features, nodes.numpy(), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residence, "CHUNK_BYTES", chunk)
        table, pinned = (Table(features, dtype, CPU, where) for where in ("device", "pinned"))
    for found in (its.gather(nodes) for its in (table, pinned, OnHost(features, dtype))):
        assert found.dtype == wanted.dtype
        assert torch.equal(*(rows.view(BITS[rows.dtype]) for rows in (found, wanted)))


def test_a_graph_has_one_table_on_a_device_whoever_asks(customers):
    asked = ["node", None, CPU, "device"]
    assert residence.residence(customers, *asked) is residence.residence(customers, *asked)
    assert residence.residence(customers, *asked[:3], "host") is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_is_told_where_the_bytes_of_a_pinned_table_are(dtype):
    table = torch.randn(5, 3).to(dtype)
    told = SimpleNamespace(__array_interface__=residence._Pinned(table).__cuda_array_interface__)
    assert torch.equal(torch.from_numpy(np.asarray(told)).view(dtype), table)
