"""A rendered TrainJob and its runtime are what Kubeflow Trainer's own types hold."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubeflow_trainer_api import models

from launch.cluster import Cluster
from launch.manifests import manifests

KINDS = {
    "TrainJob": models.TrainerV1alpha1TrainJob,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
}
clusters = st.builds(
    Cluster,
    name=st.just("cora"),
    image=st.just("example/graphmtl:0.1.0"),
    backend=st.just("trainjob"),
    nodes=st.integers(1, 64),
    nproc_per_node=st.integers(1, 8),
    restarts=st.integers(0, 9),
    deadline_seconds=st.none() | st.integers(1, 10**6),
    node_selector=st.sampled_from([{}, {"zone": "a"}]),
    priority_class=st.sampled_from([None, "high"]),
    queue=st.sampled_from([None, "graphmtl"]),
)


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Return the paths that are not the same after a round trip; unknown fields vanish in it."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = before.keys() | after.keys()
        return [x for k in sorted(keys) for x in lost(before.get(k), after.get(k), f"{path}/{k}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [x for i, (b, a) in pairs for x in lost(b, a, f"{path}/{i}")]
    return [] if before == after else [f"{path}: {before!r} -> {after!r}"]


def round_trip(manifest: dict[str, Any]) -> list[str]:
    kept = KINDS[manifest["kind"]].from_dict(manifest)
    assert kept is not None
    return lost(manifest, kept.to_dict())


def rendered(cluster: Cluster) -> dict[str, Any]:
    return {m["kind"]: m for _, m in manifests(cluster, "", [], {"graphmtl/run": "x"})}


@settings(max_examples=25, deadline=None)
@given(cluster=clusters)
def test_nothing_gets_lost(cluster):
    objects = rendered(cluster)
    assert [round_trip(objects[kind]) for kind in KINDS] == [[], []]


def test_a_field_that_there_is_not_gets_lost():
    objects = rendered(Cluster(name="a", image="x", backend="trainjob"))
    objects["TrainJob"]["spec"]["podTemplateOverrides"] = []  # renamed in 2.1
    objects["TrainingRuntime"]["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = 2  # gone in 2.3
    assert round_trip(objects["TrainJob"]) == ["/spec/podTemplateOverrides: [] -> None"]
    assert round_trip(objects["TrainingRuntime"]) == [
        "/spec/mlPolicy/torch/numProcPerNode: 2 -> None"
    ]


def test_a_wrong_type_is_refused():
    objects = rendered(Cluster(name="a", image="x", backend="trainjob"))
    objects["TrainJob"]["spec"]["trainer"]["numProcPerNode"] = "auto"  # a string until 2.2
    with pytest.raises(ValueError, match="numProcPerNode"):
        round_trip(objects["TrainJob"])
