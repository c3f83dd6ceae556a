"""launch/k8s.py, through the official client, against a server that answers as Kubernetes does.

Objects with uids and owners, dry runs that keep nothing, selectors, refusals, silence; a deleted
run's pods end with 75. (kmock 0.8 keeps what is only tried, and selects nothing.)
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import launch.k8s_api
import launch.k8s_logs
from job.arguments import exit_code
from launch.k8s import main

PATH = re.compile(r"/(?:api/v1|apis/[^/]+/[^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?(/log)?$")
FLAGS = ["cluster.name=tiny", "cluster.image=example/graphmtl:0.1.0"]


class Cluster(ThreadingHTTPServer):
    """Holds objects as (plural, name), and what shall be refused as (verb, plural)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[tuple[str, str], Any] = {}
        self.tried: list[Any] = []
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        self.logs: dict[str, str] = {}
        self.mlflow: dict[str, Any] = {}
        self.silent = threading.Event()
        self.asked = 0

    def handle_error(self, *_: object) -> None:
        """Be quiet about clients that gave up."""

    def keep(self, plural: str, manifest: Any) -> Any:
        made = {"uid": f"uid-{len(self.objects)}", "creationTimestamp": "2026-01-01T00:00:00Z"}
        manifest["metadata"] = {**made, **manifest["metadata"]}
        self.objects[plural, manifest["metadata"]["name"]] = manifest
        return manifest

    def of(self, plural: str, query: dict[str, str]) -> list[Any]:
        found = [o for (kind, _), o in self.objects.items() if kind == plural]
        for pair in filter(None, query.get("labelSelector", "").split(",")):
            key, _, value = pair.partition("=")
            found = [o for o in found if o["metadata"].get("labels", {}).get(key) == value]
        if "fieldSelector" in query:
            field, _, value = query["fieldSelector"].partition("=")
            found = [o for o in found if o[field] == value]
        if plural == "pods":  # seen once more with its exit code, a deleted one is gone
            for pod in [o for o in found if "deletionTimestamp" in o["metadata"]]:
                del self.objects["pods", pod["metadata"]["name"]]
        return found

    def remove(self, plural: str, name: str) -> Any:
        gone = self.objects.pop((plural, name))
        for key, other in list(self.objects.items()):
            owners = [r["uid"] for r in other["metadata"].get("ownerReferences", [])]
            if gone["metadata"]["uid"] in owners:
                del self.objects[key]
        if plural in ("jobs", "trainjobs"):
            for pod in self.of("pods", {}):
                self.keep("pods", pod)["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
                pod["status"] = ended(75)
        return gone


class Handler(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status: int, message: str) -> None:
        self.answer(status, {"kind": "Status", "code": status, "message": message})

    def handle_all(self) -> None:
        self.server.asked += 1
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        if self.server.silent.is_set():
            time.sleep(5)
        if "/mlflow/" in url.path:
            self.answer(200, self.server.mlflow[url.path.rpartition("/mlflow/")[2]])
            return
        match = PATH.match(url.path)
        assert match, self.path
        _, plural, name, log = match.groups()
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if (self.command, plural) in self.server.refusals:
            self.fail(*self.server.refusals[self.command, plural])
        elif log:
            self.answer(200, self.server.logs[f"{name}/{query['container']}"])
        elif name is None and self.command == "GET":
            self.answer(200, {"kind": "List", "items": self.server.of(plural, query)})
        elif name is None:
            self.create(plural, body, dry=query.get("dryRun") == "All")
        elif (plural, name) not in self.server.objects:
            self.fail(404, f'{plural} "{name}" not found')
        elif self.command == "DELETE":
            self.answer(200, self.server.remove(plural, name))
        else:
            found = self.server.objects[plural, name]
            if self.command == "PATCH":
                found["metadata"] |= body["metadata"]
            self.answer(200, found)

    def create(self, plural: str, body: Any, *, dry: bool) -> None:
        name = body["metadata"]["name"]
        if (plural, name) in self.server.objects:
            self.fail(409, f'{plural} "{name}" already exists')
        elif dry:
            self.server.tried.append(body["kind"])
            self.answer(201, body)
        else:
            self.answer(201, self.server.keep(plural, body))

    do_GET = do_POST = do_DELETE = do_PATCH = handle_all  # noqa: N815


def ended(code: int, reason: str = "Error") -> Any:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    status = {"name": "train", "state": state, "ready": False, "image": "x", "imageID": "x",
              "restartCount": 0}  # fmt: skip
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [status]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    server = Cluster()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    kubeconfig = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
                        str(tmp_path / "kubeconfig"))  # fmt: skip
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def k8s(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command; return exit code, what it printed, what it complained of."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = exit_code(lambda: main([str(arg) for arg in argv]))
        return code, *capsys.readouterr()

    return run


def put_pods(cluster: Cluster, *statuses: Any) -> None:
    for index, status in enumerate(statuses):
        labels = {
            "app.kubernetes.io/name": "graphmtl", "app.kubernetes.io/instance": "tiny",
            "batch.kubernetes.io/job-completion-index": str(index),
        }  # fmt: skip
        metadata = {"name": f"tiny-{index}-x", "labels": labels}
        spec = {"nodeName": f"machine-{index}", "containers": []}
        cluster.keep("pods", {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


def running() -> Any:
    status = ended(0)
    status["phase"] = "Running"
    status["containerStatuses"][0]["state"] = {"running": {}}
    return status


@pytest.mark.parametrize("backend", ["job", "trainjob"])
def test_a_run_is_made_whole_and_belongs_to_its_owner(cluster, k8s, config, backend):
    code, out, _ = k8s("submit", config, *FLAGS, f"cluster.backend={backend}")
    assert (code, "tiny is in namespace graphmtl" in out) == (0, True)
    owner = cluster.objects[f"{backend}s", "tiny"]
    parts = [o for o in cluster.objects.values() if o is not owner]
    assert len(parts) == 3
    for part in parts:
        (reference,) = part["metadata"]["ownerReferences"]
        assert reference["uid"] == owner["metadata"]["uid"]


def test_all_objects_and_a_pod_are_tried_before_any_is_made(cluster, k8s, config):
    code, out, _ = k8s("submit", config, "--dry-run", *FLAGS)
    assert (code, cluster.objects) == (0, {})
    assert cluster.tried == ["ConfigMap", "NetworkPolicy", "Service", "Job", "Pod"]
    assert out == k8s("render", config, *FLAGS)[1]


def test_the_same_run_twice_is_refused_and_the_first_one_stays(cluster, k8s, config):
    k8s("submit", config, *FLAGS)
    before = dict(cluster.objects)
    code, _, err = k8s("submit", config, *FLAGS)
    assert (code, "already exists" in err, "cluster.name" in err) == (78, True, True)
    assert cluster.objects == before


def test_what_was_made_before_a_refusal_goes_again(cluster, k8s, config):
    real = Cluster.keep

    def refuse_job(self: Cluster, plural: str, manifest: Any) -> Any:
        self.refusals["POST", "jobs"] = (500, "etcd is full")
        return real(self, plural, manifest)

    cluster.keep = refuse_job.__get__(cluster)
    code, _, err = k8s("submit", config, *FLAGS)
    assert (code, "etcd is full" in err) == (69, True)
    assert cluster.objects == {}


REFUSALS = [
    ("POST", "jobs", 401, "Unauthorized", 77, "log in again"),
    ("POST", "jobs", 403, 'jobs is forbidden: User "ann" cannot create', 77, "graphmtl-submitter"),
    ("POST", "pods", 403, 'violates PodSecurity "restricted": hostPath', 77, "privileged"),
    ("POST", "pods", 403, "exceeded quota: gpus, requested: 8, limited: 4", 75, "another run ends"),
    ("POST", "pods", 403, "no PriorityClass with name high was found", 77, "priority_class"),
    ("POST", "pods", 403, 'serviceaccount "graphmtl" not found', 77, "apply -k k8s/base"),
    ("POST", "configmaps", 404, 'namespaces "graphmtl" not found', 64, "apply -k k8s/base"),
    ("POST", "jobs", 422, "Job is invalid: spec.completions", 64, "spec.completions"),
    ("POST", "jobs", 500, "internal", 69, "try again"),
    ("POST", "jobs", 429, "too many requests", 69, "try again"),
]


@pytest.mark.parametrize(("verb", "plural", "status", "said", "code", "advice"), REFUSALS)
def test_a_refusal_is_explained(cluster, k8s, config, verb, plural, status, said, code, advice):
    cluster.refusals[verb, plural] = (status, said)
    found, _, err = k8s("submit", config, *FLAGS)
    assert found == code
    assert said in err
    assert advice in err
    assert cluster.objects == {}


def test_who_may_make_jobs_need_not_make_pods(cluster, k8s, config):
    said = 'pods is forbidden: User "ann" cannot create resource "pods"'
    cluster.refusals["POST", "pods"] = (403, said)
    assert k8s("submit", config, *FLAGS)[0] == 0


def test_a_cluster_without_kubeflow_trainer_says_so(cluster, k8s, config):
    cluster.refusals["POST", "trainingruntimes"] = (404, "404 page not found")
    code, _, err = k8s("submit", config, *FLAGS, "cluster.backend=trainjob")
    assert (code, "cluster.backend=job" in err) == (64, True)


def test_a_wrong_configuration_never_reaches_the_server(cluster, k8s, config):
    code, _, err = k8s("submit", config, *FLAGS, "train.epoch=1")
    assert (code, "train.epoch" in err, cluster.tried) == (64, True, [])


@pytest.mark.parametrize("argv", [["status", "tiny"], ["logs", "tiny"], ["cancel", "tiny"]])
def test_a_run_that_there_is_not_is_said(cluster, k8s, argv):
    code, _, err = k8s(*argv)
    assert (code, "no run of this name in namespace graphmtl" in err) == (64, True)


def test_a_server_that_does_not_answer_is_given_up_soon(cluster, k8s, monkeypatch):
    monkeypatch.setattr(launch.k8s_api, "TIMEOUT_SECONDS", (0.3, 0.3))
    cluster.silent.set()
    code, _, err = k8s("list")
    assert (code, "does not answer" in err, cluster.asked) == (69, True, 1)


def test_a_server_that_is_not_there_is_said(cluster, k8s):
    cluster.socket.close()
    code, _, err = k8s("list")
    assert (code, "does not answer" in err) == (69, True)


def test_status_says_why_pods_ended_and_what_others_wait_for(cluster, k8s, config):
    k8s("submit", config, *FLAGS, "cluster.nodes=3")
    cluster.objects["jobs", "tiny"]["status"] = {"active": 2, "failed": 1}
    waiting = running()
    waiting["containerStatuses"][0]["state"] = {
        "waiting": {"reason": "ImagePullBackOff", "message": "no such image"}
    }
    put_pods(cluster, ended(137, "OOMKilled"), ended(75), waiting)
    event = {"kind": "Event", "type": "Warning", "reason": "FailedMount", "message": "no claim",
             "metadata": {"name": "e"}, "involvedObject": {"name": "tiny-2-x"}}  # fmt: skip
    cluster.keep("events", event)
    code, out, _ = k8s("status", config, *FLAGS)
    assert code == 0
    assert "tiny: running, 3 nodes" in out
    assert "1 of 9 allowed" in out
    assert "node 0: tiny-0-x" in out
    assert "machine-1" in out
    assert "exit code 137 (SIGKILL), OOMKilled" in out
    assert "exit code 75 (stopped and resumable)" in out
    assert "ImagePullBackOff: no such image" in out
    assert "FailedMount: no claim" in out


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, "starting"),
        ({"active": 1}, "running"),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, "finished"),
        ({"conditions": [{"type": "Failed", "status": "True", "message": "why"}]}, "failed"),
        ({"conditions": [{"type": "Suspended", "status": "True"}]}, "queued"),
    ],
)
def test_list_says_how_far_each_run_is(cluster, k8s, config, status, word):
    k8s("submit", config, *FLAGS)
    job = cluster.objects["jobs", "tiny"]
    job["status"] = status
    made = datetime.now(UTC) - timedelta(hours=3, minutes=5)
    job["metadata"]["creationTimestamp"] = made.isoformat()
    cluster.refusals["GET", "trainjobs"] = (404, "404 page not found")
    code, out, _ = k8s("list")
    assert (code, out.split()) == (0, ["tiny", "Job", word, "1", "node", "3", "h", "5", "min"])


def test_status_says_that_mlflow_is_out_of_reach_and_goes_on(cluster, k8s, config):
    uri = "http://127.0.0.1:9"
    k8s("submit", config, *FLAGS, f"cluster.mlflow_uri={uri}")
    code, out, _ = k8s("status", "tiny")
    assert (code, "MLflow at http://127.0.0.1:9 does not tell" in out) == (0, True)


def test_status_shows_what_mlflow_last_heard(cluster, k8s, config):
    info = {"run_id": "r1", "run_name": "tiny", "status": "RUNNING", "experiment_id": "1"}
    metric = {"key": "val/segment/accuracy", "value": 0.5, "timestamp": 1, "step": 7}
    cluster.mlflow = {
        "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "graphmtl"}},
        "runs/search": {"runs": [{"info": info, "data": {"metrics": [metric]}}]},
        "metrics/get-history": {"metrics": [metric]},
    }
    k8s("submit", config, *FLAGS, "cluster.mlflow_uri=http://mlflow:5000")
    here = f"http://127.0.0.1:{cluster.server_port}"
    out = k8s("status", "tiny", "--mlflow-uri", here)[1]
    assert "MLflow run r1 (RUNNING) at step 7" in out
    assert "val/segment/accuracy 0.5" in out


def put_logs(cluster: Cluster) -> None:
    for pod, seconds in (("tiny-0-x", "ac"), ("tiny-1-x", "bd")):
        lines = [f"2026-01-01T00:00:0{'abcd'.index(s)}Z {s}" for s in seconds]
        cluster.logs[f"{pod}/train"] = "\n".join(lines)  # the last one has no end yet


def test_logs_of_all_pods_come_in_the_order_of_time(cluster, k8s, config):
    k8s("submit", config, *FLAGS, "cluster.nodes=2")
    put_pods(cluster, running(), running())
    put_logs(cluster)
    code, out, _ = k8s("logs", "tiny")
    assert (code, out.splitlines()) == (
        0,
        ["[node 0] a", "[node 1] b", "[node 0] c", "[node 1] d"],
    )


def test_logs_follow_pods_that_come_later_until_the_run_ends(cluster, k8s, config, monkeypatch):
    k8s("submit", config, *FLAGS, "cluster.nodes=2")
    put_pods(cluster, running())
    put_logs(cluster)

    def later(_: float) -> None:
        put_pods(cluster, running(), running())
        status = {"conditions": [{"type": "Complete", "status": "True"}]}
        cluster.objects["jobs", "tiny"]["status"] = status

    monkeypatch.setattr(launch.k8s_logs.time, "sleep", later)
    code, out, _ = k8s("logs", "-f", "tiny")
    assert (code, sorted(out.splitlines())) == (
        0,
        ["[node 0] a", "[node 0] c", "[node 1] b", "[node 1] d"],
    )


def test_a_cancelled_run_saves_and_leaves_nothing(cluster, k8s, config):
    k8s("submit", config, *FLAGS, "cluster.nodes=2")
    put_pods(cluster, running(), running())
    code, out, _ = k8s("cancel", "tiny")
    assert code == 0
    assert out.count("exit code 75 (stopped and resumable)") == 2
    assert "goes on from its newest checkpoint" in out
    assert cluster.objects == {}


def test_what_kubectl_applied_is_cancelled_too(cluster, k8s, config):
    k8s("submit", config, *FLAGS)
    for manifest in cluster.objects.values():
        manifest["metadata"].pop("ownerReferences", None)
    assert k8s("cancel", "tiny")[0] == 0
    assert cluster.objects == {}


def test_without_the_client_the_command_says_what_to_install(k8s, config, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    code, _, err = k8s("list")
    assert (code, 'pip install -e ".[kubernetes]"' in err) == (64, True)
    assert k8s("render", config, *FLAGS)[0] == 0


def test_without_a_cluster_the_command_says_how_to_name_one(k8s, cluster, tmp_path):
    (tmp_path / "kubeconfig").unlink()
    code, _, err = k8s("list")
    assert (code, "--context" in err) == (64, True)
