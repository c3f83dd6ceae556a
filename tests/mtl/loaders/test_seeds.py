"""The data order is a pure function; processes only share it out."""

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mtl.loaders.seeds import SeedOrder

ORDERS = st.builds(
    lambda sizes, batch, total, seed, shuffle: SeedOrder(
        {f"type{i}": np.arange(n) * 10 + i for i, n in enumerate(sizes)},
        batch_size=batch,
        global_batch_size=total,
        seed=seed,
        shuffle=shuffle,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(1, 50),
    st.integers(0, 2**40),
    st.booleans(),
)
WORLDS = st.integers(1, 5)


def epoch_of(order: SeedOrder, epoch: int = 0) -> dict[str, list[int]]:
    """Return all seeds of an epoch by type, in their order."""
    first = epoch * order.steps_per_epoch
    steps = chain.from_iterable(order.step(first + s) for s in range(order.steps_per_epoch))
    parts = list(steps)
    return {name: np.concatenate([p[name] for p in parts]).tolist() for name in order.groups}


@given(ORDERS, WORLDS, st.integers(0, 2))
def test_every_seed_stands_exactly_once_in_an_epoch_of_all_ranks(order, world_size, epoch):
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    ranks = range(world_size)
    numbers = [n for s in steps for r in ranks for n in order.share(s, r, world_size)]
    parts = [order.microbatch(n) for n in numbers if n is not None]
    for name, seeds in order.groups.items():
        found = np.concatenate([part[name] for part in parts])
        assert sorted(found) == seeds.tolist()


@given(ORDERS, WORLDS, st.integers(0, 7))
def test_a_step_holds_the_same_microbatches_for_any_world_size(order, world_size, step):
    shares = [order.share(step, rank, world_size) for rank in range(world_size)]
    in_turn = [n for round_ in zip(*shares, strict=True) for n in round_ if n is not None]
    assert in_turn == order.share(step, 0, 1)


@given(ORDERS, WORLDS, st.integers(0, 7))
def test_every_rank_has_equally_many_rounds_of_which_only_the_last_may_be_empty(order, world, step):
    shares = [order.share(step, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {-(-order.microbatches_per_step // world)}
    assert all(None not in share[:-1] for share in shares)


@given(ORDERS, st.integers(0, 20))
def test_microbatches_fit_and_differ_by_at_most_one_seed(order, step):
    batch_size = [sum(map(len, part.values())) for part in order.step(step)]
    assert len(batch_size) == order.microbatches_per_step
    assert max(batch_size) - min(batch_size) <= 1
    assert sum(batch_size) == order.size(step)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 50))
def test_no_microbatch_exceeds_the_batch_size(num_seeds, batch_size, global_batch_size):
    order = SeedOrder(
        {"node": np.arange(num_seeds)}, batch_size=batch_size, global_batch_size=global_batch_size
    )
    steps = range(order.steps_per_epoch)
    assert max(len(part["node"]) for s in steps for part in order.step(s)) <= batch_size
    assert [order.size(s) for s in steps[:-1]] == [global_batch_size] * (len(steps) - 1)
    assert sum(order.size(s) for s in steps) == num_seeds


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 99))
def test_groups_interleave_in_proportion_in_every_prefix(sizes, seed):
    groups = {f"type{i}": np.arange(n) for i, n in enumerate(sizes)}
    order = SeedOrder(groups, batch_size=1, global_batch_size=1, seed=seed)
    seen = np.zeros(len(sizes))
    for step in range(order.steps_per_epoch):
        (part,) = order.step(step)
        seen += [len(seeds) for seeds in part.values()]
        assert (np.abs(seen - np.array(sizes) * (step + 1) / sum(sizes)) <= 1 + 1e-9).all()


def test_another_epoch_or_seed_has_another_order():
    groups = {"node": np.arange(50)}
    make = [SeedOrder(groups, batch_size=7, global_batch_size=20, seed=s) for s in (0, 0, 1)]
    first, again, other = (epoch_of(order)["node"] for order in make)
    assert first == again
    assert len({tuple(first), tuple(other), tuple(epoch_of(make[0], 1)["node"])}) == 3


def test_without_shuffling_every_epoch_keeps_the_order():
    seeds = np.array([5, 3, 9, 1, 7])
    order = SeedOrder({"node": seeds}, batch_size=2, global_batch_size=4, shuffle=False)
    assert epoch_of(order)["node"] == epoch_of(order, 3)["node"] == seeds.tolist()


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])),
    st.integers(1, 50),
)
def test_a_rate_passes_over_every_seed_equally_often_in_the_long_run(sizes, rates, batch):
    groups = {name: np.arange(4 * size) for name, size in sizes.items()}
    order = SeedOrder(groups, batch_size=batch, global_batch_size=batch, seed=1, rates=rates)
    epochs = [epoch_of(order, epoch) for epoch in range(4)]
    for name, seeds in groups.items():
        rate = rates.get(name, 1.0)
        assert [len(epoch[name]) for epoch in epochs] == [len(seeds) * rate] * 4
        counts = np.bincount(np.concatenate([epoch[name] for epoch in epochs]))
        assert set(counts.tolist()) == {int(4 * rate)}
