"""Features of a batch are those of its nodes, rounded as torch rounds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.loaders.gather import gather

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
FLOATS = st.lists(FINITE, min_size=6, max_size=6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ids", [[], [0], [4, 4, 0, 3]])
def test_rows_are_those_of_index_select_in_the_stored_type(dtype, ids):
    features, nodes = torch.randn(5, 3).to(dtype), np.array(ids, np.int64)
    assert torch.equal(gather(features, nodes), features[torch.from_numpy(nodes)])


@given(FLOATS)
def test_float32_is_rounded_as_torch_rounds(values):
    features = torch.tensor(values).view(3, 2)
    found = gather(features, np.array([2, 0, 1]), torch.bfloat16)
    assert torch.equal(found, features.bfloat16()[[2, 0, 1]])


def test_ties_go_to_even():
    bits = torch.tensor([[0x3F808000, 0x3F818000, 0x3F808001]], dtype=torch.int32)
    features = bits.view(torch.float32)
    found = gather(features, np.array([0]), torch.bfloat16)
    assert torch.equal(found, features.bfloat16())


def test_narrow_features_keep_their_type():
    features = torch.randn(4, 2).half()
    assert gather(features, np.array([1]), torch.bfloat16).dtype == torch.float16
