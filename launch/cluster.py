"""launch: the `cluster:` section, what a run needs from a Kubernetes cluster."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from launch.k8s_places import (
    Folder,
    Label,
    LabelKey,
    LabelValue,
    Toleration,
    Volume,
    is_writable,
    matches,
    mistakes_of,
)
from launch.slurm_options import Slurm
from mtl.errors import ConfigError
from mtl.plugin import Options, explain, validated

# a Service's name starts with a letter; a pod's host name is NAME-INDEX, at most 63 characters
RunName = Annotated[
    str,
    matches(
        r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?",
        "at most 50 lower-case letters, digits and '-', a letter first and no '-' last",
    ),
]
Image = Annotated[str, matches(r"[^\s$]+", "an image like registry/graphmtl:0.1.0")]
Quantity = Annotated[str, matches(r"[1-9][0-9]*(Mi|Gi|Ti)", "a size like 512Mi, 64Gi or 1Ti")]
Variable = Annotated[str, matches(r"[A-Za-z_][A-Za-z0-9_]*", "a name like NCCL_DEBUG")]
Place = Annotated[
    str, matches(r"/[^\s$]*|[a-z][a-z0-9+]*://[^\s$]+", "a path, or a URL like s3://bucket/graph")
]
SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "ACCESS_KEY")


@dataclass(frozen=True, kw_only=True)
class Cluster(Options):
    """Machines for one run, and what each of them must have."""

    name: RunName
    """Name of the run's Job, Service, ConfigMap and NetworkPolicy."""
    image: Image
    """Image built from this repository's Dockerfile."""
    backend: Literal["job", "trainjob"] = "job"
    """job: an Indexed Job, on any cluster. trainjob: a TrainJob, where Kubeflow Trainer 2.3 is."""
    nodes: PositiveInt = 1
    """Pods, each on a machine of its own where the GPUs of one are all taken."""
    nproc_per_node: PositiveInt = 1
    """Processes in each pod; nodes x nproc_per_node is the world size."""
    gpus: NonNegativeInt | None = None
    """GPUs for each pod: one for each process (the default), or 0 to train on CPUs."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """What the cluster calls a GPU."""
    cpus: PositiveInt = 4
    """Cores for each pod; samplers and loaders use them, GPUs wait for them."""
    memory: Quantity = "16Gi"
    """Memory for each pod: the mapped graph may exceed it, the working set may not."""
    disk: Quantity = "16Gi"
    """Scratch disk for each pod; the converted graph must fit, unless `cache` is elsewhere."""
    shm: Quantity = "2Gi"
    """Shared memory for each pod, out of its `memory`; NCCL and gloo use it between processes."""
    restarts: NonNegativeInt = 3
    """Starts after the first one when a worker is killed, hits a bug or loses its peers; each new
    checkpoint gives a Job all of them back."""
    deadline_seconds: PositiveInt | None = None
    """Longest time that the run may take, its waits and restarts included; then it saves and
    fails. null: as long as it takes."""
    node_selector: dict[LabelKey, LabelValue] = field(default_factory=dict)
    """Labels of the machines that may be taken."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the machines that may be taken; that of GPUs need not be named."""
    priority_class: Label | None = None
    """PriorityClass of the pods."""
    queue: Label | None = None
    """Kueue's local queue, where the cluster has one."""
    namespace: Label = "graphmtl"
    """Where it runs; `kubectl apply -k k8s/base` makes the default one."""
    service_account: Label = "graphmtl"
    """Account of the pods: with rights in your cloud where data lie there, none in Kubernetes."""
    claim: Label | None = "graphmtl"
    """PersistentVolumeClaim that is the working directory: relative paths of the configuration,
    run directory and raw data among them, lie there. It must be ReadWriteMany with several nodes;
    null with one node means a directory that ends with the pod."""
    volumes: dict[Label, Volume] = field(default_factory=dict)
    """More volumes, by name: `graphs: {path: /graphs, claim: graphs, read_only: true}`."""
    cache: Folder = "/tmp/cache"
    """Folder of converted graphs, which the first container of each pod fills, once for all pods
    that see it. On a volume with `host_path` it outlives the pods."""
    graph_from: Place | None = None
    """Graph folder, made by job/prepare.py, that is copied to `cache` and trained on instead of
    converting `graph:`: a path on a volume, or a URL that fsspec knows. null converts."""
    mlflow_uri: str | None = None
    """Tracking server as the pods see it, in the place of track.mlflow.uri; so one file serves at
    home and in the cluster."""
    env: dict[Variable, str] = field(default_factory=dict)
    """More environment variables, such as NCCL_SOCKET_IFNAME; no secrets."""
    secrets: tuple[Label, ...] = ()
    """Secrets whose entries become environment variables: credentials of MLflow, of an object
    store. `graphmtl-env` is always one of them, if it is there."""
    pull_secrets: tuple[Label, ...] = ()
    """Secrets that open the registry of the image."""
    slurm: Slurm | None = None
    """What launch/slurm.py needs beyond name, nodes, processes, GPUs, cpus, memory and restarts."""

    def __post_init__(self) -> None:
        mistakes = [*self._mistakes(), *mistakes_of(self.volumes)]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def _mistakes(self) -> list[str]:
        mistakes = []
        if self.gpus not in (None, 0, self.nproc_per_node):
            mistakes.append(
                f"gpus: {self.gpus} does not fit nproc_per_node: {self.nproc_per_node}; each "
                "process takes one GPU, and 0 trains on CPUs"
            )
        if self.nodes > 1 and self.claim is None:
            mistakes.append(
                f"claim: null does not fit nodes: {self.nodes}; all of them read the checkpoints"
            )
        if _bytes(self.shm) >= _bytes(self.memory):
            mistakes.append(f"shm: {self.shm} is taken from memory: {self.memory}; raise that")
        if not is_writable(self.cache, self.volumes):
            mistakes.append(f"cache: {self.cache} is neither in /tmp nor on a writable volume")
        for name in self.env:
            if any(word in name.upper() for word in SECRET_WORDS):
                mistakes.append(f"env.{name}: all can read it; name a Secret in `secrets` instead")
        return mistakes

    @property
    def gpus_per_node(self) -> int:
        """GPUs for each pod."""
        return self.nproc_per_node if self.gpus is None else self.gpus


def read_cluster(section: dict[str, Any] | None) -> Cluster:
    """Make the cluster of a configuration's `cluster:` section.

    Raises:
        ConfigError: with all mistakes, one a line, each with its YAML path and what is allowed.
    """
    if section is None:
        raise ConfigError("cluster: missing; it needs at least `name` and `image`")
    try:
        return validated(_Section, {"cluster": section}).cluster
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, _Section))) from None


def _bytes(size: str) -> int:
    return int(size[:-2]) << {"Mi": 20, "Gi": 30, "Ti": 40}[size[-2:]]


@dataclass(frozen=True, kw_only=True)
class _Section(Options):
    cluster: Cluster
