"""Features that are shared out: what a process fetches is what a whole copy holds."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.loaders.gather import gather
from mtl.loaders.sharded import ShardedFeatures

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 5))
def test_every_process_gets_the_rows_that_it_asks_for(on_all, data, size):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rounded = data.draw(st.sampled_from([None, torch.bfloat16]))
    features = {
        kind: torch.from_numpy(rng.standard_normal((data.draw(st.integers(1, 40)), width))).to(
            data.draw(st.sampled_from(DTYPES))
        )
        for kind, width in (("a", 1), ("b", 7))
    }
    asked = [
        {kind: rng.integers(0, len(x), rng.integers(0, 50)) for kind, x in features.items()}
        for _ in range(size)
    ]
    found = on_all(
        size, lambda wire: ShardedFeatures(features, wire).fetch(asked[wire.rank], rounded)
    )
    for ids, rows in zip(asked, found, strict=True):
        for kind, x in features.items():
            assert torch.equal(rows[kind], gather(x, ids[kind], rounded))


def test_it_is_a_feature_store_of_pyg(on_all):
    features = {"node": torch.arange(30.0).view(10, 3)}
    index = torch.tensor([9, 0, 0, 4])

    def ask(wire):
        shards = ShardedFeatures(features, wire)
        (attribute,) = shards.get_all_tensor_attrs()
        assert shards.get_tensor_size(attribute) == (10, 3)
        return shards.get_tensor(group_name="node", attr_name="x", index=index + 0 * wire.rank)

    for found in on_all(3, ask):
        assert torch.equal(found, features["node"][index])
