"""launch: how a run on a cluster is: state, pods, why they ended, what stands in the way."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from launch.ending import meaning
from launch.k8s_api import Api
from launch.k8s_common import RUN
from launch.k8s_errors import NotThereError
from launch.pod import Manifest

OWNERS = ("Job", "TrainJob")
INDEX = "batch.kubernetes.io/job-completion-index"
ENDED = {"Complete": "finished", "Failed": "failed"}


def find(api: Api, name: str) -> Manifest:
    """Return the Job or TrainJob of a run.

    Raises:
        NotThereError: there is none.
    """
    for kind in OWNERS:
        owner = api.read(kind, name)
        if owner:
            return owner
    raise NotThereError(f"{name}: no run of this name in namespace {api.namespace}; see `list`")


def state(owner: Manifest) -> str:
    """Say in a word how far a run is."""
    status = owner.get("status") or {}
    true = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    for condition, word in ENDED.items():
        if condition in true:
            return word
    if "deletionTimestamp" in owner["metadata"]:
        return "ending"
    if "Suspended" in true or owner["spec"].get("suspend"):
        return "queued"
    return "running" if status.get("active") or status.get("jobsStatus") else "starting"


def show(api: Api, name: str, now: datetime | None = None) -> Iterator[str]:
    """Yield the lines of `status`, all but MLflow's."""
    owner = find(api, name)
    pods = sorted(api.list("Pod", label_selector=RUN.format(name)), key=_order)
    yield f"{name}: {state(owner)}, {_size(owner)}, for {_age(owner, now or datetime.now(UTC))}"
    for condition in (owner.get("status") or {}).get("conditions") or []:
        if condition["status"] == "True" and condition.get("message"):
            yield f"  {condition['type']}: {condition['message']}"
    failed = (owner.get("status") or {}).get("failed") or 0
    if owner["kind"] == "Job":
        yield f"  pods that failed: {failed} of {owner['spec'].get('backoffLimit', 6)} allowed"
    yield from _table(pods)
    yield from exits(pods)
    yield from _obstacles(pods)
    yield from _events(api, [name, *(pod["metadata"]["name"] for pod in pods)])


def list_runs(api: Api, now: datetime | None = None) -> Iterator[str]:
    """Yield a line for each run of the namespace."""
    for kind in OWNERS:
        try:
            owners = api.list(kind, label_selector="app.kubernetes.io/name=graphmtl")
        except NotThereError:  # no Kubeflow Trainer
            continue
        for owner in owners:
            age = _age(owner, now or datetime.now(UTC))
            yield (
                f"{owner['metadata']['name']:<32} {kind:<8} {state(owner):<9} "
                f"{_size(owner):<22} {age}"
            )


def exits(pods: list[Manifest]) -> list[str]:
    """Say how each container ended that did not end well, or was stopped."""
    lines = []
    for pod in sorted(pods, key=_order):
        for status in _containers(pod):
            ended = status.get("state", {}).get("terminated")
            if ended and (ended["exitCode"] or not status["name"].startswith("graph")):
                reason = ended.get("reason", "")
                why = f", {reason}" if reason not in ("", "Error", "Completed") else ""
                lines.append(
                    f"  {pod['metadata']['name']} ({status['name']}) ended with "
                    f"{meaning(ended['exitCode'])}{why}"
                )
        reason = pod.get("status", {}).get("reason")
        if reason:
            message = pod["status"].get("message", "")
            lines.append(f"  {pod['metadata']['name']}: {reason}: {message}".rstrip(": "))
    return lines


def _table(pods: list[Manifest]) -> Iterator[str]:
    for pod in pods:
        spec, phase = pod.get("spec", {}), pod.get("status", {}).get("phase", "Unknown")
        if "deletionTimestamp" in pod["metadata"]:
            phase = "Terminating"
        yield (
            f"  node {node_of(pod)}: {pod['metadata']['name']:<36} {phase:<12}"
            f"{spec.get('nodeName') or ''}"
        ).rstrip()


def _obstacles(pods: list[Manifest]) -> Iterator[str]:
    """Say what pods wait for: an image, a volume, a machine."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for status in _containers(pod):
            waiting = status.get("state", {}).get("waiting")
            if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
                yield f"  {name}: {waiting.get('reason')}: {waiting.get('message', '')}"
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"  {name}: no machine yet: {condition.get('message', '')}"


def _events(api: Api, names: list[str]) -> Iterator[str]:
    """Yield the newest warnings about the run and its pods, each once."""
    warnings = [
        event
        for event in api.list("Event", field_selector="type=Warning")
        if event["involvedObject"].get("name") in names
    ]
    latest = dict.fromkeys(f"{e.get('reason')}: {e.get('message', '')}" for e in warnings)
    yield from (f"  warning: {text}" for text in list(latest)[-5:])


def node_of(pod: Manifest) -> str:
    """Return the index of a pod's node, `?` where none is known yet."""
    metadata = pod["metadata"]
    known: dict[str, Any] = {
        **(metadata.get("labels") or {}),
        **(metadata.get("annotations") or {}),
    }
    return str(known.get(INDEX, "?"))


def _order(pod: Manifest) -> tuple[str, str]:
    return node_of(pod).rjust(6), str(pod["metadata"].get("creationTimestamp", ""))


def _containers(pod: Manifest) -> list[Manifest]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _size(owner: Manifest) -> str:
    spec = owner["spec"]
    nodes = spec.get("completions") or spec.get("trainer", {}).get("numNodes") or 1
    return f"{nodes} node{'s' * (nodes > 1)}"


def _age(owner: Manifest, now: datetime) -> str:
    made = owner["metadata"].get("creationTimestamp")
    if not made:
        return "?"
    minutes = int((now - datetime.fromisoformat(made)).total_seconds() // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
    )
