"""launch: the Kubernetes objects of one run, as plain mappings.

One Indexed Job whose pods meet by torchrun at the first of them, a headless Service that names
them, a NetworkPolicy that lets them talk, and a ConfigMap that brings the configuration; or a
TrainJob and its TrainingRuntime in the place of Job and Service.
"""

from launch.cluster import Cluster
from launch.k8s_common import labels, metadata
from launch.k8s_job import job, service
from launch.k8s_trainjob import train_job, training_runtime
from launch.pod import Manifest, injected


def manifests(
    cluster: Cluster, config: str, overrides: list[str], notes: dict[str, str] | None = None
) -> list[tuple[str, Manifest]]:
    """Write a run's objects, the one that owns the others last, each with what it is for.

    Args:
        cluster: what the run needs.
        config: text of the configuration file.
        overrides: `key.path=value` arguments.
        notes: annotations of the owner, by which `status` finds the run in MLflow.
    """
    common = [
        ("The configuration, as it was given.", _config_map(cluster, config)),
        (
            "The pods of this run reach each other on every port (torch draws them at random);\n"
            "nothing else reaches them.",
            _network_policy(cluster),
        ),
    ]
    overrides = [*injected(cluster), *overrides]
    if cluster.backend == "trainjob":
        return [
            *common,
            (
                "How Kubeflow Trainer runs it: one pod a node; evicted pods and their peers (75)\n"
                "are not held against the run, what would fail again fails it at once.",
                training_runtime(cluster, overrides),
            ),
            ("The run.", train_job(cluster, overrides, notes or {})),
        ]
    return [
        *common,
        (
            "Names the pods; no address of its own, and names before they are ready, because\n"
            "ready means that they have met.",
            service(cluster),
        ),
        (
            "One pod a node. Peers of an evicted pod end with 75, which is not held against them;\n"
            "what would fail again fails the Job at once.",
            job(cluster, overrides, notes or {}),
        ),
    ]


def _config_map(cluster: Cluster, config: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster),
        "data": {"config.yaml": config},
    }


def _network_policy(cluster: Cluster) -> Manifest:
    pods = {"podSelector": {"matchLabels": labels(cluster)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(cluster),
        "spec": {**pods, "policyTypes": ["Ingress"], "ingress": [{"from": [pods]}]},
    }
