"""launch: the same run as a TrainJob of Kubeflow Trainer 2, which makes a JobSet of it.

A TrainJob says what to run. All else about its pods stands in a TrainingRuntime of its own: fields
of a TrainJob that change them were renamed twice.
"""

from launch.cluster import Cluster
from launch.k8s_common import (
    EVICTED,
    FINAL,
    RESUMABLE,
    metadata,
    on_exit,
    owner_metadata,
    pod_metadata,
)
from launch.pod import CONFIG, TRAINER, Manifest, literal, pod

API = "trainer.kubeflow.org/v1alpha1"
FINAL_RULE = 2  # place of FINAL among the rules of the Job below, which its message names


def training_runtime(cluster: Cluster, overrides: list[str]) -> Manifest:
    """Write the TrainingRuntime of a run.

    All machines meet once (the rendezvous that TrainJob gives is static), so a lost pod starts all
    pods anew. Every exit code fails the inner Job; what then happens follows from its message.
    """
    job = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [EVICTED]},
                on_exit("FailJob", RESUMABLE),
                on_exit("FailJob", FINAL),
            ]
        },
        "template": {
            "metadata": pod_metadata(cluster),
            "spec": pod(cluster, cluster.name, overrides, {}),
        },
    }
    node = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": job,
    }
    named = metadata(cluster, **{"trainer.kubeflow.org/framework": "torch"})
    return {
        "apiVersion": API,
        "kind": "TrainingRuntime",
        "metadata": named,
        "spec": {
            "mlPolicy": {"numNodes": cluster.nodes, "torch": {}},
            "template": {
                "spec": {
                    "network": {"publishNotReadyAddresses": True},
                    "failurePolicy": _failure_policy(cluster.restarts),
                    "replicatedJobs": [{"name": TRAINER["trainjob"], "template": node}],
                }
            },
        },
    }


def train_job(cluster: Cluster, overrides: list[str], notes: dict[str, str]) -> Manifest:
    """Write the TrainJob of a run."""
    deadline = cluster.deadline_seconds
    gpus = {cluster.gpu_resource: str(cluster.gpus_per_node)} if cluster.gpus_per_node else {}
    requests = {"cpu": str(cluster.cpus), "memory": cluster.memory}
    return {
        "apiVersion": API,
        "kind": "TrainJob",
        "metadata": owner_metadata(cluster, notes),
        "spec": {
            "runtimeRef": {"name": cluster.name, "kind": "TrainingRuntime"},
            **({"activeDeadlineSeconds": deadline} if deadline else {}),
            "trainer": {
                "image": cluster.image,
                "args": _arguments(overrides),
                "numNodes": cluster.nodes,
                "numProcPerNode": cluster.nproc_per_node,
                "resourcesPerNode": {
                    "requests": {**requests, "ephemeral-storage": cluster.disk},
                    "limits": {"memory": cluster.memory, **gpus},
                },
            },
        },
    }


def _failure_policy(restarts: int) -> Manifest:
    broken = {"onJobFailureReasons": ["PodFailurePolicy"]}
    message = {"onJobFailureMessagePatterns": [f"FailJob rule at index {FINAL_RULE}"]}
    return {
        "maxRestarts": restarts,
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {"name": "final", "action": "FailJobSet", **broken, **message},
            {"name": "evicted", "action": "RestartJobSetAndIgnoreMaxRestarts", **broken},
        ],
    }


def _arguments(overrides: list[str]) -> list[str]:
    """Return the command: PET_* variables say the rest, and the JobSet restarts."""
    launcher = ["python", "-m", "launch.local", "--max-restarts=0", "--local-addr=$(POD_IP)"]
    return [*launcher, CONFIG, *literal(overrides)]
