"""Features that are shared out: what a process fetches is what a whole copy holds."""

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.loaders.gather import gather
from mtl.loaders.sharded import ShardedFeatures

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


class Wires:
    """All processes of a job, as threads: a queue from each to each."""

    def __init__(self, size: int) -> None:
        self.queues = [[SimpleQueue() for _ in range(size)] for _ in range(size)]


class Wire:
    """One of them."""

    def __init__(self, wires: Wires, rank: int) -> None:
        self.rank, self.world_size, self._queues = rank, len(wires.queues), wires.queues

    def all_to_all(self, rows, send, receive):
        assert (len(rows), len(receive)) == (sum(send), self.world_size)
        for to, part in enumerate(torch.split(rows, send)):
            self._queues[self.rank][to].put(part)
        parts = [self._queues[source][self.rank].get(timeout=5) for source in range(len(receive))]
        assert [len(part) for part in parts] == receive
        return torch.cat(parts)


def on_all(size, features, action):
    """Run an action on the features of each process, at the same time."""
    wires = Wires(size)
    shards = [ShardedFeatures(features, Wire(wires, rank)) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(action, shards, range(size)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 5))
def test_every_process_gets_the_rows_that_it_asks_for(data, size):
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
    found = on_all(size, features, lambda shards, rank: shards.fetch(asked[rank], rounded))
    for ids, rows in zip(asked, found, strict=True):
        for kind, x in features.items():
            assert torch.equal(rows[kind], gather(x, ids[kind], rounded))


def test_it_is_a_feature_store_of_pyg():
    features = {"node": torch.arange(30.0).view(10, 3)}
    index = torch.tensor([9, 0, 0, 4])

    def ask(shards, rank):
        (attribute,) = shards.get_all_tensor_attrs()
        assert shards.get_tensor_size(attribute) == (10, 3)
        return shards.get_tensor(group_name="node", attr_name="x", index=index + 0 * rank)

    for found in on_all(3, features, ask):
        assert torch.equal(found, features["node"][index])
