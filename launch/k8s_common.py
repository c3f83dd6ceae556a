"""launch: what a Job and a TrainJob have in common: names, labels, and which endings are final."""

from launch.cluster import Cluster
from launch.pod import Manifest

RESUMABLE = [75]  # the healthy peers of an evicted pod end so; it costs no restart
FINAL = [64, 65, 70, 76, 77]  # the same command would end the same way
# `status` is required up to Kubernetes 1.34
EVICTED = {"type": "DisruptionTarget", "status": "True"}
RUN = "app.kubernetes.io/name=graphmtl,app.kubernetes.io/instance={}"
"""Selects the pods of a run by its name."""


def labels(cluster: Cluster) -> dict[str, str]:
    """Return the labels of a run's objects, by which its pods are selected."""
    return {"app.kubernetes.io/name": "graphmtl", "app.kubernetes.io/instance": cluster.name}


def metadata(cluster: Cluster, **more: str) -> Manifest:
    """Return name, namespace and labels of an object of the run."""
    return {
        "name": cluster.name,
        "namespace": cluster.namespace,
        "labels": {**labels(cluster), **more},
    }


def owner_metadata(cluster: Cluster, notes: dict[str, str]) -> Manifest:
    """Return the metadata of the Job or TrainJob, with its queue and its notes."""
    queue = {"kueue.x-k8s.io/queue-name": cluster.queue} if cluster.queue else {}
    annotations = {"annotations": notes} if notes else {}
    return {**metadata(cluster, **queue), **annotations}


def pod_metadata(cluster: Cluster) -> Manifest:
    """Return the metadata of the pods: a sidecar would outlive them, and stands between them."""
    return {"labels": {**labels(cluster), "sidecar.istio.io/inject": "false"}}


def on_exit(action: str, codes: list[int]) -> Manifest:
    """Write a rule of a podFailurePolicy for exit codes of any container."""
    return {"action": action, "onExitCodes": {"operator": "In", "values": codes}}
