"""launch: a run as an Indexed Job whose pods meet by torchrun at the first of them."""

from launch.cluster import Cluster
from launch.k8s_common import (
    EVICTED,
    FINAL,
    RESUMABLE,
    labels,
    metadata,
    on_exit,
    owner_metadata,
    pod_metadata,
)
from launch.pod import CONFIG, PORT, Manifest, literal, pod

KEPT_SECONDS = 7 * 24 * 3600


def service(cluster: Cluster) -> Manifest:
    """Write the headless Service that names the pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(cluster),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(cluster),
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }


def job(cluster: Cluster, overrides: list[str], notes: dict[str, str]) -> Manifest:
    """Write the Job."""
    deadline = cluster.deadline_seconds
    training = {
        "args": _arguments(cluster, overrides),
        "ports": [{"name": "rendezvous", "containerPort": PORT}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner_metadata(cluster, notes),
        "spec": {
            "completionMode": "Indexed",
            "completions": cluster.nodes,
            "parallelism": cluster.nodes,
            "backoffLimit": cluster.nodes * cluster.restarts,  # one failure ends every pod
            "podReplacementPolicy": "Failed",
            **({"activeDeadlineSeconds": deadline} if deadline else {}),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [EVICTED]},
                    on_exit("Ignore", RESUMABLE),
                    on_exit("FailJob", FINAL),
                ]
            },
            "template": {
                "metadata": pod_metadata(cluster),
                "spec": {
                    "subdomain": cluster.name,
                    **pod(cluster, cluster.name, overrides, training),
                },
            },
        },
    }


def _arguments(cluster: Cluster, overrides: list[str]) -> list[str]:
    return [
        "python",
        "-m",
        "launch.local",
        f"--nproc={cluster.nproc_per_node}",
        f"--max-restarts={cluster.restarts}",
        f"--nnodes={cluster.nodes}",
        "--node-rank=$(JOB_COMPLETION_INDEX)",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={cluster.name}-0.{cluster.name}:{PORT}",
        f"--rdzv-id={cluster.name}",
        "--local-addr=$(POD_IP)",
        CONFIG,
        *literal(overrides),
    ]
