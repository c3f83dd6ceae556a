"""launch: bring a run into being on a cluster, whole or not at all, and end it."""

import copy
import time
from collections.abc import Callable
from contextlib import suppress

from launch.k8s_api import Api
from launch.k8s_common import RUN
from launch.k8s_errors import ForbiddenError, NotThereError
from launch.k8s_request import Request
from launch.k8s_status import OWNERS, exits
from launch.pod import GRACE_SECONDS, Manifest

PARTS = ("ConfigMap", "NetworkPolicy", "Service", "TrainingRuntime")


def check(api: Api, request: Request) -> None:
    """Have the server check a run: schemas, admission, quota, Pod Security; nothing is made.

    Its pods are checked too: the server takes a Job whose pods it would refuse for ever after.
    """
    for _, manifest in request.objects:
        if manifest["kind"] != "TrainJob":  # refused unless its runtime is there already
            api.create(manifest, dry_run=True)
        elif api.read("TrainJob", request.cluster.name):
            api.create(manifest, dry_run=True)  # says that the name is taken
    try:
        api.create(_pod(request), dry_run=True)
    except ForbiddenError as error:
        if "cannot create resource" not in str(error):  # who may make Jobs need not make pods
            raise


def submit(api: Api, request: Request) -> Manifest:
    """Create a run's objects after a check; where one is refused, those before it go again."""
    check(api, request)
    made: list[Manifest] = []
    try:
        for _, manifest in request.objects:
            made.append(api.create(manifest))
    except BaseException:
        for manifest in made:
            api.delete(manifest["kind"], manifest["metadata"]["name"])
        raise
    *parts, owner = made
    for manifest in parts:
        api.adopt(manifest, owner)
    return owner


def cancel(api: Api, name: str, say: Callable[[str], None], pause_seconds: float = 1.0) -> None:
    """Delete a run and wait for its pods: each gets SIGTERM, saves and ends with 75.

    Raises:
        NotThereError: nothing of that name is there.
    """
    found = [kind for kind in (*OWNERS, *PARTS) if api.read(kind, name)]
    if not found:
        raise NotThereError(f"{name}: no run of this name in namespace {api.namespace}; see `list`")
    for kind in found:
        with suppress(NotThereError):  # its owner took it along
            api.delete(kind, name)
    said: set[str] = set()
    deadline = time.monotonic() + 2 * GRACE_SECONDS
    while time.monotonic() < deadline:
        pods = api.list("Pod", label_selector=RUN.format(name))
        for line in exits(pods):
            if line not in said:
                say(line)
            said.add(line)
        if not pods:
            say(f"{name} is gone; `submit` goes on from its newest checkpoint")
            return
        time.sleep(pause_seconds)
    say(f"{name} is still ending: {', '.join(pod['metadata']['name'] for pod in pods)}")


def _pod(request: Request) -> Manifest:
    """Return a pod like those of the run."""
    (spec,) = (m["spec"] for _, m in request.objects if m["kind"] in ("Job", "TrainingRuntime"))
    if "replicatedJobs" in spec.get("template", {}).get("spec", {}):
        spec = spec["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    template = copy.deepcopy(spec["template"])
    template["metadata"] |= {
        "name": f"{request.cluster.name}-check",
        "namespace": request.cluster.namespace,
    }
    return {"apiVersion": "v1", "kind": "Pod", **template}
