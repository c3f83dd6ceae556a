"""launch: the `cluster:` section, what a run needs from a Kubernetes cluster."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from mtl.errors import ConfigError
from mtl.plugin import Options, explain


def _matches(pattern: str, allowed: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {allowed}, found {value!r}")
        return value

    return AfterValidator(check)


# a Service's name starts with a letter; a pod's host name is NAME-INDEX, at most 63 characters
RunName = Annotated[
    str,
    _matches(
        r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?",
        "at most 50 lower-case letters, digits and '-', a letter first and no '-' last",
    ),
]
Label = Annotated[
    str,
    _matches(
        r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        "at most 63 lower-case letters, digits and '-', no '-' first or last",
    ),
]
Image = Annotated[str, _matches(r"[^\s$]+", "an image like registry/graphmtl:0.1.0")]
Quantity = Annotated[str, _matches(r"[1-9][0-9]*(Mi|Gi|Ti)", "a size like 512Mi, 64Gi or 1Ti")]


@dataclass(frozen=True, kw_only=True)
class Cluster(Options):
    """Machines for one run, and what each of them must have."""

    name: RunName
    """Name of the run's Job, Service, ConfigMap and NetworkPolicy."""
    image: Image
    """Image built from this repository's Dockerfile."""
    nodes: PositiveInt = 1
    """Pods, each on a machine of its own where the GPUs of one are all taken."""
    nproc_per_node: PositiveInt = 1
    """Processes in each pod; nodes x nproc_per_node is the world size."""
    gpus: NonNegativeInt | None = None
    """GPUs for each pod: one for each process (the default), or 0 to train on CPUs."""
    cpus: PositiveInt = 4
    """Cores for each pod; samplers and loaders use them, GPUs wait for them."""
    memory: Quantity = "16Gi"
    """Memory for each pod: the mapped graph may exceed it, the working set may not."""
    disk: Quantity = "16Gi"
    """Local disk for each pod; the converted graph must fit."""
    restarts: NonNegativeInt = 3
    """Starts after the first one when a worker is killed, hits a bug or loses its peers."""
    namespace: Label = "graphmtl"
    """Where it runs; `kubectl apply -k k8s` makes the default one."""
    claim: Label | None = "graphmtl"
    """PersistentVolumeClaim that is the working directory: relative paths of the configuration,
    run directory and raw data among them, lie there. It must be ReadWriteMany with several nodes;
    null with one node means a directory that ends with the pod."""
    queue: Label | None = None
    """Kueue's local queue, where the cluster has one."""

    def __post_init__(self) -> None:
        if self.gpus not in (None, 0, self.nproc_per_node):
            raise ValueError(
                f"gpus: {self.gpus} does not fit nproc_per_node: {self.nproc_per_node}; each "
                "process takes one GPU, and 0 trains on CPUs"
            )
        if self.nodes > 1 and self.claim is None:
            raise ValueError(
                f"claim: null does not fit nodes: {self.nodes}; all of them read the checkpoints"
            )

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
    text = json.dumps({"cluster": section}, default=str)
    try:
        return TypeAdapter(_Section).validate_json(text).cluster
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, _Section))) from None


@dataclass(frozen=True, kw_only=True)
class _Section(Options):
    cluster: Cluster
