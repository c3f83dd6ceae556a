"""The `cluster:` section: what a cluster would refuse later is refused now, by its YAML path."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from job.yaml12 import parse
from launch.cluster import Cluster, read_cluster
from mtl.errors import ConfigError

DOCS = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
SMALL = {"name": "cora", "image": "example/graphmtl:0.1.0"}


def volume(label, **options):
    return {**SMALL, "volumes": {label: options}}


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
    ({**SMALL, "shm": "16Gi"}, "shm: 16Gi is taken from memory: 16Gi"),
    ({**SMALL, "backend": "pytorchjob"}, "cluster.backend: "),
    ({**SMALL, "deadline_seconds": 0}, "cluster.deadline_seconds: "),
    ({**SMALL, "node_selector": {"a b": "c"}}, "cluster.node_selector.a b"),
    ({**SMALL, "tolerations": [{"key": "gpu", "effect": "No"}]}, "cluster.tolerations.0.effect: "),
    ({**SMALL, "env": {"MY_TOKEN": "x"}}, "env.MY_TOKEN: all can read it"),
    ({**SMALL, "graph_from": "a b"}, "cluster.graph_from: expected a path, or a URL"),
    ({**SMALL, "graph_from": "data"}, "cluster.graph_from: expected a path, or a URL"),
    ({**SMALL, "cache": "/ssd"}, "cache: /ssd is neither in /tmp nor on a writable volume"),
    (volume("data", path="data", claim="x"), "cluster.volumes.data.path: expected an absolute"),
    (volume("data", path="/data"), "expected one of claim and host_path"),
    (volume("data", path="/data", claim="x", host_path="/x"), "expected one of claim and host"),
    (volume("data", path="/workspace/x", claim="x"), "volumes.data.path: /workspace/x is in"),
    (volume("data", path="/a/../tmp", claim="x"), "cluster.volumes.data.path: expected"),
    (volume("tmp", path="/data", claim="x"), "volumes.tmp: the pod has a volume of this name"),
    ({**volume("d", path="/d", claim="x", read_only=True), "cache": "/d"}, "cache: /d is neither"),
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


def test_a_cache_may_lie_on_a_folder_of_the_machine():
    section = {**volume("ssd", path="/ssd", host_path="/mnt/ssd"), "cache": "/ssd/graphs"}
    assert read_cluster(section).cache == "/ssd/graphs"


def test_two_volumes_do_not_hide_each_other():
    volumes = {"a": {"path": "/data", "claim": "a"}, "b": {"path": "/data/b", "claim": "b"}}
    with pytest.raises(ConfigError, match=r"volumes\.b\.path: /data/b is in /data, of volumes\.a"):
        read_cluster({**SMALL, "volumes": volumes})


def test_the_guide_shows_a_section_that_is_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)
    section = parse(text, "docs")["cluster"]
    assert read_cluster(section).nodes == 2


def test_the_guides_table_names_options_that_there_are():
    rows = re.findall(r"^\| [^|]+ \| (.*) \|$", DOCS.partition("| wish |")[2], flags=re.MULTILINE)
    known = {field.name for field in fields(Cluster)} | {"graph"}
    shown = [snippet for row in rows for snippet in re.findall(r"`(\w+: [^`]+)`", row)]
    assert len(shown) >= 12
    for snippet in shown:
        tree = parse(snippet, "docs")
        assert tree.keys() <= known, snippet
        if "graph" not in tree:
            extra = {"volumes": {"ssd": {"path": "/ssd", "host_path": "/mnt/ssd"}}}
            read_cluster({**SMALL, **(extra if "cache" in tree else {}), **tree})
