"""The `cluster:` section: what a cluster would refuse later is refused now, by its YAML path."""

import pytest

from launch.cluster import read_cluster
from mtl.errors import ConfigError

SMALL = {"name": "cora", "image": "example/graphmtl:0.1.0"}

MISTAKES = [
    (None, "cluster: missing; it needs at least `name` and `image`"),
    ({"image": "x"}, "cluster.name: required, but missing"),
    ({**SMALL, "node": 2}, "cluster.node: unknown key; did you mean 'nodes'?"),
    ({**SMALL, "nodes": 0}, "cluster.nodes: "),
    ({**SMALL, "nodes": "2"}, "cluster.nodes: "),
    ({**SMALL, "name": "Cora"}, "cluster.name: expected at most 50 lower-case letters"),
    ({**SMALL, "name": "2cora"}, "cluster.name: "),
    ({**SMALL, "name": "c" * 51}, "cluster.name: "),
    ({**SMALL, "name": "cora-"}, "cluster.name: "),
    ({**SMALL, "name": "cora\n"}, "cluster.name: "),
    ({**SMALL, "memory": "16GB"}, "cluster.memory: expected a size like 512Mi, 64Gi or 1Ti"),
    ({**SMALL, "claim": "a/b"}, "cluster.claim: "),
    ({**SMALL, "nproc_per_node": 4, "gpus": 2}, "gpus: 2 does not fit nproc_per_node: 4"),
    ({**SMALL, "nodes": 2, "claim": None}, "claim: null does not fit nodes: 2"),
]


@pytest.mark.parametrize(("section", "message"), MISTAKES)
def test_a_mistake_is_named_by_its_path(section, message):
    with pytest.raises(ConfigError) as error:
        read_cluster(section)
    assert message in str(error.value)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        read_cluster({"name": "A", "nodes": -1})
    paths = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert sorted(paths) == ["cluster.image", "cluster.name", "cluster.nodes"]


def test_every_process_has_a_gpu_unless_there_are_none():
    assert read_cluster({**SMALL, "nproc_per_node": 4}).gpus_per_node == 4
    assert read_cluster({**SMALL, "nproc_per_node": 4, "gpus": 0}).gpus_per_node == 0


def test_the_longest_name_leaves_room_for_a_pods_index():
    longest = read_cluster({**SMALL, "name": "c" * 50}).name
    assert len(f"{longest}-999999999999") <= 63
