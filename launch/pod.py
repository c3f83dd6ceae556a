"""launch: the pod of one node, which runs launch/local.py for its share of the job."""

from typing import Any

from launch.cluster import Cluster

Manifest = dict[str, Any]

CONTAINER = "train"
PORT = 29400
USER = 10001
GRACE_SECONDS = 120  # launch/local.py gives the workers 90 of them to save
FOLDER = "/workspace"
SECRET = "graphmtl-env"
SERVICE_ACCOUNT = "graphmtl"
CACHES = {
    "HOME": "/tmp",
    "XDG_CACHE_HOME": "/tmp/cache",
    "NUMBA_CACHE_DIR": "/tmp/cache/numba",
    "MPLCONFIGDIR": "/tmp/cache/matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",
    "TRITON_CACHE_DIR": "/tmp/cache/triton",
}


def pod(cluster: Cluster, overrides: list[str]) -> Manifest:
    """Write the pod of one node, fit for the Pod Security level "restricted".

    Its working directory is the claim, /tmp its scratch disk; nothing else can be written.
    """
    claim = {"persistentVolumeClaim": {"claimName": cluster.claim}}
    scratch = {"emptyDir": {"sizeLimit": cluster.disk}}
    tolerations = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
    return {
        "subdomain": cluster.name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **(tolerations if cluster.gpus_per_node else {}),
        "containers": [_container(cluster, overrides)],
        "volumes": [
            {"name": "config", "configMap": {"name": cluster.name}},
            {"name": "workspace", **(claim if cluster.claim else scratch)},
            {"name": "tmp", **scratch},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
    }


def _container(cluster: Cluster, overrides: list[str]) -> Manifest:
    gpus = {"nvidia.com/gpu": str(cluster.gpus_per_node)} if cluster.gpus_per_node else {}
    requests = {"cpu": str(cluster.cpus), "memory": cluster.memory}
    return {
        "name": CONTAINER,
        "image": cluster.image,
        "workingDir": FOLDER,
        "args": _arguments(cluster, overrides),
        "env": _environment(cluster),
        "envFrom": [{"secretRef": {"name": SECRET, "optional": True}}],
        "ports": [{"name": "rendezvous", "containerPort": PORT}],
        "resources": {
            "requests": {**requests, "ephemeral-storage": cluster.disk},
            "limits": {"memory": cluster.memory, **gpus},
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
        ],
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
        "/config/config.yaml",
        *overrides,
    ]


def _environment(cluster: Cluster) -> list[Manifest]:
    values = {
        **CACHES,
        # inside a container Python counts the cores of the whole machine
        "OMP_NUM_THREADS": str(max(1, cluster.cpus // cluster.nproc_per_node)),
        # or a pod that is lost and made again can never join the others
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    return [address, *({"name": name, "value": value} for name, value in values.items())]
