"""Where the graph lives: what is chosen fits, and the model has its share."""

import pytest
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
TIERS = [
    ("numba", "host", "host"),
    ("cuda", "device", "host"),
    ("cuda", "sharded", "pinned"),
    ("cuda", "sharded", "device"),
    ("cuda", "device", "pinned"),
    ("cuda", "device", "device"),
]


@given(GIB, GIB, GIB, GIB, GIB, GIB, st.integers(1, 8))
def test_what_stays_on_the_device_leaves_the_model_its_share(
    edges, places, features, free, used, spare, gpus
):
    total = free + used
    found = choose(AUTO, Sizes(edges, places, features), free, total, spare, gpus=gpus)
    room = free - int(MODEL_SHARE * total)
    there = places
    there += {"device": edges, "sharded": edges / gpus, "host": 0}[found.edges]
    if found.features == "device":
        there += features / (gpus if found.edges == "sharded" else 1)
    assert found.backend == "numba" or there <= room
    assert found.features != "pinned" or features <= spare
    assert found.edges != "sharded" or (gpus > 1 and edges + places + features > room)
    assert (found.backend == "numba") == (found.edges == "host")
    fits = gpus > 1 and 2 * features <= spare and places + -(-edges // gpus) <= room
    assert found.edges != "host" or not (edges + places <= room or fits)
    for number in (edges + places, features, free, total):
        assert f"{number / 2**30:.2f} GiB" in found.why


@given(GIB, GIB, GIB, GIB, GIB, GIB, GIB, st.integers(1, 8))
def test_more_room_moves_nothing_away(edges, places, features, free, more, total, spare, gpus):
    sizes, rooms = Sizes(edges, places, features), ((free, spare), (free + more, spare + more))
    found = [choose(AUTO, sizes, free, total, spare, gpus=gpus) for free, spare in rooms]
    ranks = [TIERS.index((its.backend, its.edges, its.features)) for its in found]
    assert ranks == sorted(ranks)


def test_what_the_sampler_does_not_know_is_left_to_numba():
    for options, sharded in ((Loader(weighted=True), False), (AUTO, True)):
        assert choose(options, Sizes(1, 1, 1), *ROOM, sharded=sharded).backend == "numba"


def test_who_names_the_sampler_gets_it_and_features_where_they_fit():
    small, large, huge = Sizes(1, 1, 1), Sizes(1, 1, 1 << 31), Sizes(1, 1, 1 << 40)
    assert choose(CUDA, small, *ROOM).features == "device"
    assert choose(CUDA, large, *ROOM).features == "pinned"
    assert choose(CUDA, huge, *ROOM).features == "host"
    host = Loader(backend="cuda", features="host")
    assert choose(host, small, *ROOM).features == "host"


@pytest.mark.parametrize("gpus", [1, 2])
def test_edges_stay_where_they_are_asked_for_or_the_next_place_where_they_fit(gpus):
    tight = Sizes(3 << 28, 1, 1 << 20)  # more than the model leaves, less than all
    assert choose(CUDA, tight, *ROOM, gpus=gpus).edges == "device"
    assert choose(AUTO, tight, *ROOM, gpus=gpus).edges == ("sharded" if gpus > 1 else "host")
    for asked, backend in (("sharded", "cuda"), ("host", "cuda"), ("host", "auto")):
        found = choose(Loader(backend=backend, edges=asked), Sizes(1, 1, 1), *ROOM, gpus=gpus)
        assert found.edges == (asked if gpus > 1 else "host")
        assert found.backend == ("cuda" if backend == "cuda" else "numba")
    huge = Sizes(1 << 40, 1, 1 << 20)
    for asked in ("device", "sharded"):
        assert choose(Loader(backend="cuda", edges=asked), huge, *ROOM, gpus=gpus).edges == "host"
    pinned = choose(CUDA, Sizes(3 << 28, 1, 1 << 29), *ROOM, gpus=gpus)
    assert (pinned.edges, pinned.features) == ("device", "pinned")


def test_sizes_are_what_a_graph_takes(shops):
    cpu = torch.device("cpu")
    for dtype in (None, torch.bfloat16):
        graph = resident(shops.topology(), cpu)
        edges = sum(edges.num_bytes for edges in graph.edges.values())
        places = sum(places.nbytes for places in graph.places.values())
        kinds = [*shops.node_types, *shops.edge_types]
        tables = [residence(shops, kind, dtype, cpu, "device") for kind in kinds]
        features = sum(table._table.nbytes for table in tables if table is not None)
        assert sizes_of(shops, dtype, edge_features=True) == Sizes(edges, places, features)
