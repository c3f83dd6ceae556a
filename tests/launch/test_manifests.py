"""Every rendered run is valid Kubernetes, and keeps the rules that no schema knows."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cluster import Cluster
from launch.manifests import manifests

VERSIONS = ["1.31", kubernetes_validate.latest_version()]
NO_RETRY, RETRY = {64, 65, 70, 76, 77}, {73, 78, 79, 137, 143}
SYSTEM_ENV = {"JOB_COMPLETION_INDEX"}  # the Job controller sets it

names = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)
nproc = st.shared(st.integers(1, 8))
clusters = st.builds(
    Cluster,
    name=names,
    image=st.just("example/graphmtl:0.1.0"),
    nodes=st.integers(1, 64),
    nproc_per_node=nproc,
    gpus=nproc.flatmap(lambda n: st.sampled_from([None, 0, n])),
    cpus=st.integers(1, 128),
    memory=st.sampled_from(["512Mi", "64Gi", "2Ti"]),
    restarts=st.integers(0, 9),
    queue=st.none() | names,
)


def by_kind(cluster: Cluster, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    objects = manifests(cluster, "run: {name: x}\n", list(overrides))
    return {manifest["kind"]: copy.deepcopy(manifest) for _, manifest in objects}


def broken_rules(objects: dict[str, Any], cluster: Cluster) -> Iterator[str]:
    """Name the rules that a run's objects break."""
    job, service = objects["Job"], objects["Service"]
    template = job["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    (container,) = pod["containers"]
    policy = objects["NetworkPolicy"]["spec"]
    yield from _job_rules(job["spec"], cluster)
    yield from _meeting_rules(job, service, container, cluster)
    yield from _restricted_rules(pod, container)
    if {o["metadata"]["namespace"] for o in objects.values()} != {cluster.namespace}:
        yield "namespace"
    if not service["spec"]["selector"].items() <= labels.items():
        yield "selector"
    if not policy["podSelector"]["matchLabels"].items() <= labels.items():
        yield "policy covers the pods"
    if policy["ingress"] != [{"from": [{"podSelector": policy["podSelector"]}]}]:
        yield "policy admits the run's pods alone, on every port"
    yield from _resource_rules(container, cluster)


def _job_rules(spec: Any, cluster: Cluster) -> Iterator[str]:
    if spec["completionMode"] != "Indexed":
        yield "indexed"
    if not spec["completions"] == spec["parallelism"] == cluster.nodes:
        yield "one pod a node"
    if spec["backoffLimit"] != cluster.nodes * cluster.restarts:
        yield "backoffLimit"
    if spec["podReplacementPolicy"] != "Failed":
        yield "podReplacementPolicy"
    if spec["template"]["spec"]["restartPolicy"] != "Never":
        yield "restartPolicy"
    action = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        for code in rule.get("onExitCodes", {}).get("values", []):
            action.setdefault(code, rule["action"])
        for condition in rule.get("onPodConditions", []):
            action[condition["type"], condition["status"]] = rule["action"]
    wanted = {75: "Ignore", ("DisruptionTarget", "True"): "Ignore"}
    if action != {**wanted, **dict.fromkeys(NO_RETRY, "FailJob")} or action.keys() & RETRY:
        yield "failure policy"


def _meeting_rules(job: Any, service: Any, container: Any, cluster: Cluster) -> Iterator[str]:
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    host = f"{name}-0.{service['metadata']['name']}"
    (port,) = service["spec"]["ports"]
    if f"--rdzv-endpoint={host}:{port['port']}" not in container["args"]:
        yield "endpoint"
    if pod["subdomain"] != service["metadata"]["name"]:
        yield "subdomain"
    if service["spec"]["clusterIP"] != "None" or not service["spec"]["publishNotReadyAddresses"]:
        yield "headless"
    if f"--nnodes={cluster.nodes}" not in container["args"]:
        yield "nnodes"
    if f"--nproc={cluster.nproc_per_node}" not in container["args"]:
        yield "nproc"
    env = {item["name"]: item.get("value") for item in container["env"]}
    if env.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1":
        yield "a replaced pod can join"
    used = {arg.partition("$(")[2].partition(")")[0] for arg in container["args"]} - {""}
    if not used <= env.keys() | SYSTEM_ENV:
        yield "variables of the arguments exist"
    hidden = [name for name in env if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD"))]
    if hidden or any("secretKeyRef" in item.get("valueFrom", {}) for item in container["env"]):
        yield "no inline secret"
    if any(not item["secretRef"]["optional"] for item in container["envFrom"]):
        yield "optional secret"


def _restricted_rules(pod: Any, container: Any) -> Iterator[str]:
    context, inner = pod["securityContext"], container["securityContext"]
    if context["runAsNonRoot"] is not True or context["runAsUser"] == 0:
        yield "not root"
    if context["seccompProfile"] != {"type": "RuntimeDefault"}:
        yield "seccomp"
    if inner["allowPrivilegeEscalation"] is not False or inner["capabilities"] != {"drop": ["ALL"]}:
        yield "no privileges"
    if inner["readOnlyRootFilesystem"] is not True:
        yield "read-only root"
    if pod["automountServiceAccountToken"] is not False or pod["enableServiceLinks"] is not False:
        yield "no token, no service links"
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim"}
    if any(not volume.keys() <= {"name"} | allowed for volume in pod["volumes"]):
        yield "volume types"
    if {m["name"] for m in container["volumeMounts"]} != {v["name"] for v in pod["volumes"]}:
        yield "mounts are volumes"
    env = {item["name"]: item.get("value", "") for item in container["env"]}
    caches = [value for name, value in env.items() if name == "HOME" or "CACHE" in name]
    if not caches or not all(value.startswith("/tmp") for value in caches):
        yield "caches can be written"


def _resource_rules(container: Any, cluster: Cluster) -> Iterator[str]:
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    gpus = int(limits.get("nvidia.com/gpu", 0))
    if "nvidia.com/gpu" in requests or gpus not in (0, cluster.nproc_per_node):
        yield "GPUs in limits only, one a process"
    if requests["memory"] != limits["memory"] or "cpu" in limits:
        yield "memory is limited, cores are not"
    if any(not isinstance(v, str) for v in [*requests.values(), *limits.values()]):
        yield "quantities are strings"


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=20, deadline=None)
@given(cluster=clusters)
def test_every_run_is_valid(version, cluster):
    for manifest in by_kind(cluster).values():
        kubernetes_validate.validate(manifest, version, strict=True)


@settings(max_examples=100, deadline=None)
@given(cluster=clusters)
def test_every_run_keeps_the_rules(cluster):
    assert list(broken_rules(by_kind(cluster), cluster)) == []


@settings(max_examples=30)
@given(cluster=clusters)
def test_two_runs_never_select_each_others_pods(cluster):
    one = by_kind(cluster)["Service"]["spec"]["selector"]
    other = Cluster(name=f"{cluster.name[:40]}-other", image="x")
    assert (
        not one.items() <= by_kind(other)["Job"]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_overrides_follow_the_configuration_file():
    cluster = Cluster(name="a", image="x")
    args = by_kind(cluster, ("train.epochs=2",))["Job"]["spec"]["template"]["spec"]["containers"][0]
    assert args["args"][-2:] == ["/config/config.yaml", "train.epochs=2"]


def _pod(objects: Any) -> Any:
    return objects["Job"]["spec"]["template"]["spec"]


def _container(objects: Any) -> Any:
    return _pod(objects)["containers"][0]


def _rules(objects: Any) -> Any:
    return objects["Job"]["spec"]["podFailurePolicy"]["rules"]


def _set(find: Callable[[Any], Any], key: Any, value: Any) -> Callable[[Any], None]:
    return lambda objects: find(objects).__setitem__(key, value)


MUTATIONS: list[tuple[str, Callable[[Any], None]]] = [
    ("indexed", _set(lambda o: o["Job"]["spec"], "completionMode", "NonIndexed")),
    ("one pod a node", _set(lambda o: o["Job"]["spec"], "parallelism", 1)),
    ("backoffLimit", _set(lambda o: o["Job"]["spec"], "backoffLimit", 3)),
    ("podReplacementPolicy", _set(lambda o: o["Job"]["spec"], "podReplacementPolicy", "x")),
    ("restartPolicy", _set(_pod, "restartPolicy", "OnFailure")),
    ("failure policy", lambda o: _rules(o)[2]["onExitCodes"]["values"].append(79)),
    ("failure policy", lambda o: _rules(o)[2]["onExitCodes"]["values"].remove(76)),
    ("failure policy", lambda o: _rules(o)[0]["onPodConditions"][0].update(status="False")),
    ("failure policy", lambda o: _rules(o).pop(1)),
    ("endpoint", _set(lambda o: o["Service"]["spec"]["ports"][0], "port", 29500)),
    ("subdomain", _set(_pod, "subdomain", "other")),
    ("headless", lambda o: o["Service"]["spec"].update(publishNotReadyAddresses=False)),
    ("selector", _set(lambda o: o["Service"]["spec"]["selector"], "app", "x")),
    ("namespace", _set(lambda o: o["Service"]["metadata"], "namespace", "default")),
    ("nnodes", lambda o: _container(o)["args"].remove("--nnodes=2")),
    ("nproc", lambda o: _container(o)["args"].remove("--nproc=4")),
    ("a replaced pod can join", lambda o: _container(o)["env"].pop()),
    ("variables of the arguments exist", lambda o: _container(o)["env"].pop(0)),
    ("no inline secret", lambda o: _container(o)["env"].append({"name": "A_TOKEN", "value": "x"})),
    ("optional secret", lambda o: _container(o)["envFrom"][0]["secretRef"].update(optional=False)),
    ("policy covers the pods", lambda o: o["NetworkPolicy"]["spec"]["podSelector"].clear()
     or o["NetworkPolicy"]["spec"]["podSelector"].update(matchLabels={"app": "x"})),
    ("policy admits the run's pods alone, on every port",
     lambda o: o["NetworkPolicy"]["spec"]["ingress"].append({})),
    ("not root", _set(lambda o: _pod(o)["securityContext"], "runAsUser", 0)),
    ("seccomp", _set(lambda o: _pod(o)["securityContext"], "seccompProfile", {})),
    ("no privileges", lambda o: _container(o)["securityContext"]["capabilities"].clear()),
    ("read-only root",
     lambda o: _container(o)["securityContext"].update(readOnlyRootFilesystem=False)),
    ("no token, no service links", _set(_pod, "automountServiceAccountToken", True)),
    ("volume types", lambda o: _pod(o)["volumes"][0].update(hostPath={"path": "/"})),
    ("mounts are volumes", lambda o: _container(o)["volumeMounts"].pop()),
    ("caches can be written", lambda o: _container(o)["env"][1].update(value="/root")),
    ("GPUs in limits only, one a process",
     lambda o: _container(o)["resources"]["requests"].update({"nvidia.com/gpu": "4"})),
    ("memory is limited, cores are not",
     lambda o: _container(o)["resources"]["limits"].update(cpu="1")),
    ("quantities are strings", lambda o: _container(o)["resources"]["requests"].update(cpu=1)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "mutate"), MUTATIONS)
def test_breaking_a_rule_is_noticed(rule, mutate):
    cluster = Cluster(name="cora", image="x", nodes=2, nproc_per_node=4)
    objects = by_kind(cluster)
    mutate(objects)
    assert rule in list(broken_rules(objects, cluster))
