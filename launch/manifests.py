"""launch: the Kubernetes objects of one run, as plain mappings.

One Indexed Job whose pods meet by torchrun at the first of them, a headless Service that names
them, a NetworkPolicy that lets them talk, and a ConfigMap that brings the configuration.
"""

from launch.cluster import Cluster
from launch.pod import CONTAINER, PORT, Manifest, pod

KEPT_SECONDS = 7 * 24 * 3600
RESUMABLE = [75]  # the healthy peers of an evicted pod end so; it costs no restart
FINAL = [64, 65, 70, 76, 77]  # the same command would end the same way


def manifests(cluster: Cluster, config: str, overrides: list[str]) -> list[tuple[str, Manifest]]:
    """Write a run's objects, each with a comment that says what it is for.

    Args:
        cluster: what the run needs.
        config: text of the configuration file.
        overrides: `key.path=value` arguments.
    """
    return [
        ("The configuration, as it was given.", _config_map(cluster, config)),
        (
            "Names the pods; no address of its own, and names before they are ready, because\n"
            "ready means that they have met.",
            _service(cluster),
        ),
        (
            "The pods of this run reach each other on every port (torch draws them at random);\n"
            "nothing else reaches them.",
            _network_policy(cluster),
        ),
        (
            "One pod a node. Peers of an evicted pod end with 75, which is not held against them;\n"
            "what would fail again fails the Job at once.",
            _job(cluster, overrides),
        ),
    ]


def labels(cluster: Cluster) -> dict[str, str]:
    """Return the labels of a run's objects, by which its pods are selected."""
    return {"app.kubernetes.io/name": "graphmtl", "app.kubernetes.io/instance": cluster.name}


def _metadata(cluster: Cluster, **more: str) -> Manifest:
    return {
        "name": cluster.name,
        "namespace": cluster.namespace,
        "labels": {**labels(cluster), **more},
    }


def _config_map(cluster: Cluster, config: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(cluster),
        "data": {"config.yaml": config},
    }


def _service(cluster: Cluster) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(cluster),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(cluster),
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }


def _network_policy(cluster: Cluster) -> Manifest:
    pods = {"podSelector": {"matchLabels": labels(cluster)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(cluster),
        "spec": {**pods, "policyTypes": ["Ingress"], "ingress": [{"from": [pods]}]},
    }


def _job(cluster: Cluster, overrides: list[str]) -> Manifest:
    queue = {"kueue.x-k8s.io/queue-name": cluster.queue} if cluster.queue else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(cluster, **queue),
        "spec": {
            "completionMode": "Indexed",
            "completions": cluster.nodes,
            "parallelism": cluster.nodes,
            "backoffLimit": cluster.nodes * cluster.restarts,  # one failure ends every pod
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                # a sidecar would outlive the job, and stands between the pods
                "metadata": {"labels": {**labels(cluster), "sidecar.istio.io/inject": "false"}},
                "spec": pod(cluster, overrides),
            },
        },
    }


def _failure_rules() -> list[Manifest]:
    def on_exit(action: str, codes: list[int]) -> Manifest:
        codes_in = {"containerName": CONTAINER, "operator": "In", "values": codes}
        return {"action": action, "onExitCodes": codes_in}

    # `status` is required up to Kubernetes 1.34
    evicted = {"type": "DisruptionTarget", "status": "True"}
    return [
        {"action": "Ignore", "onPodConditions": [evicted]},
        on_exit("Ignore", RESUMABLE),
        on_exit("FailJob", FINAL),
    ]
