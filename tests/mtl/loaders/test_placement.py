"""Where the graph lives: what is chosen fits, and the model has its share."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.loaders import Loader
from mtl.loaders.placement import MODEL_SHARE, Sizes, choose, sizes_of
from mtl.loaders.residence import residence
from mtl.loaders.samplers._resident import resident

GIB = st.integers(0, 20).map(lambda number: number << 28)
ROOM = 1 << 30, 1 << 30, 1 << 32
AUTO, CUDA = Loader(), Loader(backend="cuda")
TIERS = [("numba", "host"), ("cuda", "host"), ("cuda", "pinned"), ("cuda", "device")]


@given(GIB, GIB, GIB, GIB, GIB)
def test_what_stays_on_the_device_leaves_the_model_its_share(edges, features, free, used, spare):
    total = free + used
    found = choose(AUTO, Sizes(edges, features), free, total, spare)
    room = free - int(MODEL_SHARE * total)
    assert found.backend == ("cuda" if edges <= room else "numba")
    if found.backend == "cuda":
        assert (found.features == "device") == (edges + features <= room)
        assert found.features != "pinned" or features <= spare
    for number in (edges, features, free, total):
        assert f"{number / 2**30:.2f} GiB" in found.why


@given(GIB, GIB, GIB, GIB, GIB, GIB)
def test_more_room_moves_nothing_away(edges, features, free, more, total, spare):
    sizes, rooms = Sizes(edges, features), ((free, spare), (free + more, spare + more))
    one, other = (choose(AUTO, sizes, free, total, spare) for free, spare in rooms)
    ranks = [TIERS.index((found.backend, found.features)) for found in (one, other)]
    assert ranks == sorted(ranks)


def test_what_the_sampler_does_not_know_is_left_to_numba():
    for options, sharded in ((Loader(weighted=True), False), (AUTO, True)):
        assert choose(options, Sizes(1, 1), *ROOM, sharded=sharded).backend == "numba"


def test_who_names_the_sampler_gets_it_and_features_where_they_fit():
    small, large, huge = Sizes(1, 1), Sizes(1, 1 << 31), Sizes(1, 1 << 40)
    assert choose(CUDA, small, *ROOM).features == "device"
    assert choose(CUDA, large, *ROOM).features == "pinned"
    assert choose(CUDA, huge, *ROOM).features == "host"
    host = Loader(backend="cuda", features="host")
    assert choose(host, small, *ROOM).features == "host"


def test_sizes_are_what_a_graph_takes(shops):
    cpu = torch.device("cpu")
    for dtype in (None, torch.bfloat16):
        graph = resident(shops.topology(), cpu)
        edges = sum(part.nbytes for pair in graph.edges.values() for part in pair)
        edges += sum(places.nbytes for places in graph.places.values())
        kinds = [*shops.node_types, *shops.edge_types]
        tables = [residence(shops, kind, dtype, cpu, "device") for kind in kinds]
        features = sum(table._table.nbytes for table in tables if table is not None)
        assert sizes_of(shops, dtype, edge_features=True) == Sizes(edges, features)
