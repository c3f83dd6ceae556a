"""launch: the pod of one node: a container that brings the graph, one that trains its share."""

from typing import Any

from launch.cluster import Cluster

Manifest = dict[str, Any]

PORT = 29400
USER = 10001
GRACE_SECONDS = 120  # launch/local.py gives the workers 90 of them to save
FOLDER = "/workspace"
CONFIG = "/config/config.yaml"
GRAPH = "/tmp/graph"
SECRET = "graphmtl-env"
SITE = "graphmtl-site"
BRINGER = "graph"
TRAINER = {"job": "train", "trainjob": "node"}  # Kubeflow Trainer looks for this name
CACHES = {
    "HOME": "/tmp",
    "NUMBA_CACHE_DIR": "/tmp/cache/numba",
    "MPLCONFIGDIR": "/tmp/cache/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",
    "TRITON_CACHE_DIR": "/tmp/cache/triton",
}


def pod(cluster: Cluster, config: str, overrides: list[str], training: Manifest) -> Manifest:
    """Write the pod of one node, fit for the Pod Security level "restricted".

    Its working directory is the claim, /tmp its scratch disk; nothing else can be written.

    Args:
        cluster: what the run needs.
        config: name of the ConfigMap that holds the configuration.
        overrides: `key.path=value` arguments.
        training: what the container that trains has beyond the one that brings the graph.
    """
    identity = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "serviceAccountName": cluster.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            **identity,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_placement(cluster),
        "initContainers": [
            _container(cluster, BRINGER, {"args": bringer(cluster, overrides)}, gpus=False)
        ],
        "containers": [_container(cluster, TRAINER[cluster.backend], training, gpus=True)],
        "volumes": _volumes(cluster, config),
    }


def bringer(cluster: Cluster, overrides: list[str]) -> list[str]:
    """Return the command that brings the graph to the node."""
    command = ["python", "-m", "launch.k8s_graph"]
    if cluster.graph_from:
        return [*command, f"--copy={cluster.graph_from}", f"--to={GRAPH}", CONFIG]
    graph = [text for text in overrides if text.startswith(("graph.", "graph="))]
    return [*command, CONFIG, *literal(graph)]


def injected(cluster: Cluster) -> list[str]:
    """Return the overrides that follow from the cluster; those of the user come after them."""
    graph = [f"graph={{type: folder, path: {GRAPH}}}"] if cluster.graph_from else []
    return graph + [f"track.mlflow.uri={cluster.mlflow_uri}"] * bool(cluster.mlflow_uri)


def literal(arguments: list[str]) -> list[str]:
    """Return arguments in which the kubelet replaces no $(NAME)."""
    return [text.replace("$(", "$$(") for text in arguments]


def _placement(cluster: Cluster) -> Manifest:
    tolerations: list[Manifest] = [
        {"key": cluster.gpu_resource, "operator": "Exists"}
    ] * bool(cluster.gpus_per_node)  # fmt: skip
    for taint in cluster.tolerations:
        exists = {"operator": "Exists"} if taint.value is None else {}
        value = {} if taint.value is None else {"operator": "Equal", "value": taint.value}
        effect = {"effect": taint.effect} if taint.effect else {}
        tolerations.append({"key": taint.key, **exists, **value, **effect})
    pull_secrets = [{"name": name} for name in cluster.pull_secrets]
    options = {
        "priorityClassName": cluster.priority_class,
        "nodeSelector": dict(cluster.node_selector),
        "tolerations": tolerations,
        "imagePullSecrets": pull_secrets,
    }
    return {key: value for key, value in options.items() if value}


def _container(cluster: Cluster, name: str, more: Manifest, *, gpus: bool) -> Manifest:
    limits = {"memory": cluster.memory}
    if gpus and cluster.gpus_per_node:
        limits[cluster.gpu_resource] = str(cluster.gpus_per_node)
    requests = {"cpu": str(cluster.cpus), "memory": cluster.memory}
    secrets = [{"secretRef": {"name": name}} for name in cluster.secrets]
    return {
        "name": name,
        "image": cluster.image,
        "workingDir": FOLDER,
        **more,
        "env": _environment(cluster),
        "envFrom": [
            {"configMapRef": {"name": SITE, "optional": True}},
            {"secretRef": {"name": SECRET, "optional": True}},
            *secrets,
        ],
        "resources": {
            "requests": {**requests, "ephemeral-storage": cluster.disk},
            "limits": limits,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "workspace", "mountPath": FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *(
                {"name": name, "mountPath": volume.path, "readOnly": volume.read_only}
                for name, volume in cluster.volumes.items()
            ),
        ],
    }


def _volumes(cluster: Cluster, config: str) -> list[Manifest]:
    scratch = {"emptyDir": {"sizeLimit": cluster.disk}}
    more = []
    for name, volume in cluster.volumes.items():
        if volume.claim:
            more.append({"name": name, **_claim(volume.claim, read_only=volume.read_only)})
        else:  # made by the administrator, who gives it to our user; the kubelet would make root's
            more.append({"name": name, "hostPath": {"path": volume.host_path, "type": "Directory"}})
    return [
        {"name": "config", "configMap": {"name": config}},
        {"name": "workspace", **(_claim(cluster.claim) if cluster.claim else scratch)},
        {"name": "tmp", **scratch},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": cluster.shm}},
        *more,
    ]


def _claim(name: str, *, read_only: bool = False) -> Manifest:
    return {
        "persistentVolumeClaim": {"claimName": name, **({"readOnly": True} if read_only else {})}
    }


def _environment(cluster: Cluster) -> list[Manifest]:
    values = {
        **CACHES,
        "XDG_CACHE_HOME": cluster.cache,
        # inside a container Python counts the cores of the whole machine
        "OMP_NUM_THREADS": str(max(1, cluster.cpus // cluster.nproc_per_node)),
        # or a pod that is lost and made again can never join the others
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        **cluster.env,
    }
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return [address, *({"name": name, "value": value} for name, value in values.items())]
