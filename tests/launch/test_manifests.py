"""Every rendered run is valid Kubernetes, and keeps the rules that no schema knows."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.cluster import Cluster
from launch.k8s_places import Toleration, Volume
from launch.manifests import manifests

VERSIONS = ["1.31", kubernetes_validate.latest_version()]
NO_RETRY, RETRY = {64, 65, 70, 76, 77}, {73, 78, 79, 137, 143}
SYSTEM_ENV = {"JOB_COMPLETION_INDEX"}  # the Job controller sets it
TRAINER_API = "trainer.kubeflow.org/"  # its schema: tests/launch/test_trainjob.py

names = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)
values = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True)
keys = st.sampled_from(["zone", "nvidia.com/gpu.product", "kubernetes.io/arch"])
nproc = st.shared(st.integers(1, 8))
volumes = st.fixed_dictionaries(
    {},
    optional={
        "raw": st.builds(Volume, path=st.just("/raw"), claim=names, read_only=st.booleans()),
        "ssd": st.builds(Volume, path=st.just("/ssd"), host_path=st.just("/mnt/ssd")),
    },
)
clusters = st.builds(
    Cluster,
    name=names,
    image=st.just("example/graphmtl:0.1.0"),
    backend=st.sampled_from(["job", "trainjob"]),
    nodes=st.integers(1, 64),
    nproc_per_node=nproc,
    gpus=nproc.flatmap(lambda n: st.sampled_from([None, 0, n])),
    gpu_resource=st.sampled_from(["nvidia.com/gpu", "amd.com/gpu"]),
    cpus=st.integers(1, 128),
    memory=st.sampled_from(["3000Mi", "64Gi", "2Ti"]),
    restarts=st.integers(0, 9),
    deadline_seconds=st.none() | st.integers(1, 10**7),
    node_selector=st.dictionaries(keys, values, max_size=2),
    tolerations=st.lists(
        st.builds(
            Toleration,
            key=keys,
            value=st.none() | values,
            effect=st.sampled_from([None, "NoSchedule", "NoExecute"]),
        ),
        max_size=2,
    ).map(tuple),
    priority_class=st.none() | names,
    queue=st.none() | names,
    volumes=volumes,
    graph_from=st.sampled_from([None, "/raw/graph", "s3://bucket/graph"]),
    mlflow_uri=st.sampled_from([None, "http://mlflow.mlflow:5000"]),
    env=st.dictionaries(st.sampled_from(["NCCL_DEBUG", "FOO"]), st.text(max_size=9), max_size=2),
    secrets=st.lists(names, max_size=2).map(tuple),
    pull_secrets=st.lists(names, max_size=1).map(tuple),
)


def by_kind(cluster: Cluster, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    objects = manifests(cluster, "run: {name: x}\n", list(overrides), {"graphmtl/run": "x"})
    return {manifest["kind"]: copy.deepcopy(manifest) for _, manifest in objects}


def inner_job(objects: dict[str, Any]) -> Any:
    """Return the spec of the Job, or of the one that a TrainJob becomes."""
    if "Job" in objects:
        return objects["Job"]["spec"]
    spec = objects["TrainingRuntime"]["spec"]["template"]["spec"]
    return spec["replicatedJobs"][0]["template"]["spec"]


def broken_rules(objects: dict[str, Any], cluster: Cluster) -> Iterator[str]:
    """Name the rules that a run's objects break."""
    template = inner_job(objects)["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    (bringer,), (container,) = pod["initContainers"], pod["containers"]
    policy = objects["NetworkPolicy"]["spec"]
    if "Job" in objects:
        yield from _job_rules(objects["Job"]["spec"], cluster)
        yield from _meeting_rules(objects["Job"], objects["Service"], container, cluster)
        if not objects["Service"]["spec"]["selector"].items() <= labels.items():
            yield "selector"
    else:
        yield from _trainjob_rules(objects, cluster)
        container = {**container, "args": objects["TrainJob"]["spec"]["trainer"]["args"]}
    yield from _pod_rules(pod)
    for each in (bringer, container):
        yield from _container_rules(each, pod)
    yield from _environment_rules(container)
    if {o["metadata"]["namespace"] for o in objects.values()} != {cluster.namespace}:
        yield "namespace"
    if not policy["podSelector"]["matchLabels"].items() <= labels.items():
        yield "policy covers the pods"
    if policy["ingress"] != [{"from": [{"podSelector": policy["podSelector"]}]}]:
        yield "policy admits the run's pods alone, on every port"
    yield from _resource_rules(bringer, container, cluster)
    yield from _bringer_rules(bringer, container, cluster)


def _job_rules(spec: Any, cluster: Cluster) -> Iterator[str]:
    if spec["completionMode"] != "Indexed":
        yield "indexed"
    if not spec["completions"] == spec["parallelism"] == cluster.nodes:
        yield "one pod a node"
    if spec["backoffLimit"] != cluster.nodes * cluster.restarts:
        yield "backoffLimit"
    if spec["podReplacementPolicy"] != "Failed":
        yield "podReplacementPolicy"
    if spec.get("activeDeadlineSeconds") != cluster.deadline_seconds:
        yield "deadline"
    action = _actions(spec)
    wanted = {75: "Ignore", ("DisruptionTarget", "True"): "Ignore"}
    if action != {**wanted, **dict.fromkeys(NO_RETRY, "FailJob")} or action.keys() & RETRY:
        yield "failure policy"


def _actions(spec: Any) -> dict[Any, str]:
    """Return what a podFailurePolicy does; a rule for one container would miss the other."""
    action: dict[Any, str] = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        for code in rule.get("onExitCodes", {}).get("values", []):
            named = rule["onExitCodes"].get("containerName")
            action.setdefault(code, rule["action"] if named is None else f"of {named}")
        for condition in rule.get("onPodConditions", []):
            action[condition["type"], condition["status"]] = rule["action"]
    return action


def _trainjob_rules(objects: Any, cluster: Cluster) -> Iterator[str]:
    runtime, trainjob = objects["TrainingRuntime"], objects["TrainJob"]["spec"]
    inner, jobset = inner_job(objects), runtime["spec"]["template"]["spec"]
    (replicated,) = jobset["replicatedJobs"]
    labels = replicated["template"]["metadata"]["labels"]
    if trainjob["runtimeRef"] != {"name": runtime["metadata"]["name"], "kind": "TrainingRuntime"}:
        yield "runtimeRef"
    if runtime["metadata"]["labels"].get("trainer.kubeflow.org/framework") != "torch":
        yield "framework label"
    if labels != {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}:
        yield "ancestor label"
    if {replicated["name"], *(c["name"] for c in inner["template"]["spec"]["containers"])} != {
        "node"
    }:
        yield "names that the trainer looks for"
    size = trainjob["trainer"]["numNodes"], trainjob["trainer"]["numProcPerNode"]
    if size != (cluster.nodes, cluster.nproc_per_node):
        yield "world size"
    if inner["backoffLimit"] != 0 or jobset["failurePolicy"]["maxRestarts"] != cluster.restarts:
        yield "the JobSet counts restarts, the Job inside none"
    if not jobset["network"]["publishNotReadyAddresses"]:
        yield "headless"
    if "--max-restarts=0" not in trainjob["trainer"]["args"]:
        yield "static rendezvous restarts nothing in place"
    yield from _jobset_failures(inner, jobset["failurePolicy"])


def _jobset_failures(inner: Any, policy: Any) -> Iterator[str]:
    """Play what JobSet does with the message of a failed Job; Kubernetes words it like this."""
    for index, rule in enumerate(inner["podFailurePolicy"]["rules"]):
        what = "Container x for pod a/b failed with exit code 1"
        message = f"{what} matching FailJob rule at index {index}"
        hits = (r["action"] for r in policy["rules"] if _matches(r, "PodFailurePolicy", message))
        action = next(hits, "RestartJobSet")
        codes = set(rule.get("onExitCodes", {}).get("values", []))
        wanted = "FailJobSet" if codes & NO_RETRY else "RestartJobSetAndIgnoreMaxRestarts"
        if action != wanted or rule["action"] != "FailJob" or codes & RETRY:
            yield "failure policy"
    codes = {code for code in _actions(inner) if isinstance(code, int)}
    if codes != NO_RETRY | {75} or ("DisruptionTarget", "True") not in _actions(inner):
        yield "failure policy"
    if any(_matches(rule, "BackoffLimitExceeded", "Job has reached") for rule in policy["rules"]):
        yield "failure policy"


def _matches(rule: Any, reason: str, message: str) -> bool:
    reasons = rule.get("onJobFailureReasons", [reason])
    patterns = rule.get("onJobFailureMessagePatterns", [""])
    return reason in reasons and any(re.search(pattern, message) for pattern in patterns)


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


def _environment_rules(container: Any) -> Iterator[str]:
    env = {item["name"]: item.get("value") for item in container["env"]}
    if env.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") != "1":
        yield "a replaced pod can join"
    used = {arg.partition("$(")[2].partition(")")[0] for arg in container["args"]} - {""}
    if not used <= env.keys() | SYSTEM_ENV:
        yield "variables of the arguments exist"
    hidden = [name for name in env if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD"))]
    if hidden or any("secretKeyRef" in item.get("valueFrom", {}) for item in container["env"]):
        yield "no inline secret"
    sources = [next(iter(item.values())) for item in container["envFrom"]]
    if [s["name"] for s in sources if s.get("optional")] != ["graphmtl-site", "graphmtl-env"]:
        yield "optional secret"


def _pod_rules(pod: Any) -> Iterator[str]:
    context = pod["securityContext"]
    if pod["restartPolicy"] != "Never":
        yield "restartPolicy"
    if context["runAsNonRoot"] is not True or context["runAsUser"] == 0:
        yield "not root"
    if context["seccompProfile"] != {"type": "RuntimeDefault"}:
        yield "seccomp"
    if pod["automountServiceAccountToken"] is not False or pod["enableServiceLinks"] is not False:
        yield "no token, no service links"
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim"}
    for volume in pod["volumes"]:
        kinds = volume.keys() - {"name"}
        if not kinds <= (allowed | {"hostPath"} if volume["name"] == "ssd" else allowed):
            yield "volume types"
    if pod["terminationGracePeriodSeconds"] < 120:
        yield "time to save"


def _container_rules(container: Any, pod: Any) -> Iterator[str]:
    inner = container["securityContext"]
    if inner["allowPrivilegeEscalation"] is not False or inner["capabilities"] != {"drop": ["ALL"]}:
        yield "no privileges"
    if inner["readOnlyRootFilesystem"] is not True:
        yield "read-only root"
    if {m["name"] for m in container["volumeMounts"]} != {v["name"] for v in pod["volumes"]}:
        yield "mounts are volumes"
    env = {item["name"]: item.get("value", "") for item in container["env"]}
    caches = [value for name, value in env.items() if name == "HOME" or "CACHE" in name]
    if not caches or not all(value.startswith("/tmp") for value in caches):
        yield "caches can be written"


def _resource_rules(bringer: Any, container: Any, cluster: Cluster) -> Iterator[str]:
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    gpus = int(limits.get(cluster.gpu_resource, 0))
    if cluster.gpu_resource in requests or gpus != cluster.gpus_per_node:
        yield "GPUs in limits only, one a process"
    if cluster.gpu_resource in bringer["resources"]["limits"]:
        yield "no GPU waits for a conversion"
    if requests["memory"] != limits["memory"] or "cpu" in limits:
        yield "memory is limited, cores are not"
    if any(not isinstance(v, str) for v in [*requests.values(), *limits.values()]):
        yield "quantities are strings"


def _bringer_rules(bringer: Any, container: Any, cluster: Cluster) -> Iterator[str]:
    if (bringer["image"], bringer["env"]) != (container["image"], container["env"]):
        yield "the graph is brought to where it is looked for"
    copied = f"--copy={cluster.graph_from}" in bringer["args"]
    trains_on_copy = "graph={type: folder, path: /tmp/graph}" in container["args"]
    if not copied == trains_on_copy == (cluster.graph_from is not None):
        yield "what is copied is trained on"


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=8, deadline=None)
@given(cluster=clusters)
def test_every_run_is_valid(version, cluster):
    objects = by_kind(cluster)
    for manifest in objects.values():
        if not manifest["apiVersion"].startswith(TRAINER_API):
            kubernetes_validate.validate(manifest, version, strict=True)
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}}
    kubernetes_validate.validate({**job, "spec": inner_job(objects)}, version, strict=True)


@settings(max_examples=60, deadline=None)
@given(cluster=clusters)
def test_every_run_keeps_the_rules(cluster):
    assert list(broken_rules(by_kind(cluster), cluster)) == []


@settings(max_examples=30, deadline=None)
@given(cluster=clusters)
def test_two_runs_never_select_each_others_pods(cluster):
    one = by_kind(cluster)["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    other = Cluster(name=f"{cluster.name[:40]}-other", image="x")
    assert not one.items() <= inner_job(by_kind(other))["template"]["metadata"]["labels"].items()


@settings(max_examples=30, deadline=None)
@given(cluster=clusters)
def test_what_the_owner_is_comes_last(cluster):
    """Nothing starts before all that it needs is there."""
    *_, (_, owner) = manifests(cluster, "", [])
    assert owner["kind"] in ("Job", "TrainJob")


def test_overrides_follow_the_configuration_file_and_those_of_the_cluster():
    cluster = Cluster(name="a", image="x", mlflow_uri="http://m:5000")
    args = _container(by_kind(cluster, ("train.epochs=2",)))["args"]
    uri = "track.mlflow.uri=http://m:5000"
    assert args[-3:] == ["/config/config.yaml", uri, "train.epochs=2"]


def test_the_kubelet_replaces_nothing_in_what_a_user_wrote():
    args = _container(by_kind(Cluster(name="a", image="x"), ("run.name=$(HOME)",)))["args"]
    assert args[-1] == "run.name=$$(HOME)"


def _pod(objects: Any) -> Any:
    return inner_job(objects)["template"]["spec"]


def _container(objects: Any) -> Any:
    return _pod(objects)["containers"][0]


def _bringer(objects: Any) -> Any:
    return _pod(objects)["initContainers"][0]


def _rules(objects: Any) -> Any:
    return inner_job(objects)["podFailurePolicy"]["rules"]


def _jobset(objects: Any) -> Any:
    return objects["TrainingRuntime"]["spec"]["template"]["spec"]


def _trainer(objects: Any) -> Any:
    return objects["TrainJob"]["spec"]["trainer"]


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
    ("optional secret", lambda o: _container(o)["envFrom"][1]["secretRef"].pop("optional")),
    ("policy covers the pods", lambda o: o["NetworkPolicy"]["spec"]["podSelector"].clear()
     or o["NetworkPolicy"]["spec"]["podSelector"].update(matchLabels={"app": "x"})),
    ("policy admits the run's pods alone, on every port",
     lambda o: o["NetworkPolicy"]["spec"]["ingress"].append({})),
    ("deadline", _set(lambda o: o["Job"]["spec"], "activeDeadlineSeconds", 9)),
    ("failure policy", lambda o: _rules(o)[2]["onExitCodes"].update(containerName="train")),
    ("time to save", _set(_pod, "terminationGracePeriodSeconds", 30)),
    ("no privileges", lambda o: _bringer(o)["securityContext"]["capabilities"].clear()),
    ("no GPU waits for a conversion",
     lambda o: _bringer(o)["resources"]["limits"].update({"nvidia.com/gpu": "4"})),
    ("the graph is brought to where it is looked for", lambda o: _bringer(o)["env"].pop()),
    ("what is copied is trained on", lambda o: _bringer(o)["args"].append("--copy=None")),
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


TRAINJOB_MUTATIONS: list[tuple[str, Callable[[Any], None]]] = [
    ("runtimeRef", _set(lambda o: o["TrainJob"]["spec"]["runtimeRef"], "name", "other")),
    ("framework label", lambda o: o["TrainingRuntime"]["metadata"]["labels"].clear()),
    ("ancestor label",
     lambda o: _jobset(o)["replicatedJobs"][0]["template"]["metadata"]["labels"].clear()),
    ("names that the trainer looks for", _set(_container, "name", "train")),
    ("world size", _set(_trainer, "numProcPerNode", 1)),
    ("world size", _set(_trainer, "numNodes", 1)),
    ("the JobSet counts restarts, the Job inside none", _set(inner_job, "backoffLimit", 6)),
    ("headless", _set(lambda o: _jobset(o)["network"], "publishNotReadyAddresses", False)),
    ("static rendezvous restarts nothing in place",
     lambda o: _trainer(o)["args"].remove("--max-restarts=0")),
    ("failure policy", lambda o: _jobset(o)["failurePolicy"]["rules"].reverse()),
    ("failure policy", lambda o: _jobset(o)["failurePolicy"]["rules"].pop()),
    ("failure policy",
     lambda o: _jobset(o)["failurePolicy"]["rules"][1].pop("onJobFailureReasons")),
    ("failure policy", lambda o: _rules(o).reverse()),
    ("failure policy", lambda o: _rules(o)[2]["onExitCodes"]["values"].append(79)),
    ("failure policy", lambda o: _rules(o).pop(0)),
    ("restartPolicy", _set(_pod, "restartPolicy", "OnFailure")),
    ("namespace", _set(lambda o: o["TrainJob"]["metadata"], "namespace", "default")),
]  # fmt: skip
BOTH = [
    *(("job", *mutation) for mutation in MUTATIONS),
    *(("trainjob", *mutation) for mutation in TRAINJOB_MUTATIONS),
]


@pytest.mark.parametrize(("backend", "rule", "mutate"), BOTH)
def test_breaking_a_rule_is_noticed(backend, rule, mutate):
    cluster = Cluster(name="cora", image="x", nodes=2, nproc_per_node=4, backend=backend)
    objects = by_kind(cluster)
    mutate(objects)
    assert rule in list(broken_rules(objects, cluster))
