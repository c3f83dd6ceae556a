"""`render` prints what the shipped examples hold, and refuses what would fail in the cluster."""

import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from launch.k8s import main
from launch.k8s_request import read_request
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
VERSIONS = ["1.31", kubernetes_validate.latest_version()]
K8S = ROOT / "k8s"
FOLDERS = [K8S / "base", *sorted((K8S / "overlays").iterdir())]
EXAMPLES = sorted(K8S.glob("overlays/*/run.yaml"))
STATIC = sorted(set(K8S.rglob("*.yaml")) - set(EXAMPLES))
FOREIGN = ("kustomize.config.k8s.io/", "trainer.kubeflow.org/", "kueue.x-k8s.io/")
SMALL = ["cluster.name=tiny", "cluster.image=example/graphmtl:0.1.0"]


def render(config: Path, overrides: list[str]) -> str:
    return read_request(str(config), overrides).yaml()


def place(path: Path) -> str:
    return str(path.relative_to(K8S))


@pytest.mark.parametrize("path", EXAMPLES, ids=place)
def test_an_example_is_what_its_first_line_prints(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command = path.read_text().splitlines()[0].removeprefix("# ")
    main(shlex.split(command)[2:])
    rendered = capsys.readouterr().out
    assert path.read_text() == rendered, f"run: {command} > {path.relative_to(ROOT)}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", [*STATIC, *EXAMPLES], ids=place)
def test_every_shipped_manifest_is_valid(path, version):
    for manifest in yaml.safe_load_all(path.read_text()):
        if not manifest["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS, ids=place)
def test_a_kustomization_holds_every_manifest_beside_it(folder):
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    beside = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in kustomization["resources"] if "/" not in name} == beside
    assert all((folder / name).exists() for name in kustomization["resources"])


@cache
def built(folder: Path) -> list[dict[str, Any]]:
    """Return what kustomize makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, for its kustomize")
    build = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    return list(yaml.safe_load_all(build.stdout))


@pytest.mark.parametrize("folder", FOLDERS, ids=place)
def test_kustomize_builds_objects_that_are_valid_and_each_in_a_namespace(folder):
    everywhere = {"Namespace", "ClusterQueue", "ResourceFlavor"}
    for manifest in built(folder):
        assert ("namespace" in manifest["metadata"]) != (manifest["kind"] in everywhere)
        if not manifest["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_overlays_change_what_their_comments_say():
    kinds = {folder.name: {o["kind"]: o for o in built(folder)} for folder in FOLDERS}
    assert "PersistentVolumeClaim" not in kinds["cpu-smoke"]
    modes = {
        name: kinds[name]["PersistentVolumeClaim"]["spec"]["accessModes"]
        for name in ("base", "single-node", "multi-node")
    }
    once, many = ["ReadWriteOnce"], ["ReadWriteMany"]
    assert modes == {"base": many, "single-node": once, "multi-node": many}
    order = [o["kind"] for o in built(K8S / "overlays" / "trainjob")]
    assert order.index("TrainingRuntime") < order.index("TrainJob")


def test_a_run_asks_for_what_the_overlays_make():
    for folder in FOLDERS:
        objects = built(folder)
        have = {(o["kind"], o["metadata"]["name"]) for o in objects}
        for job in (o for o in objects if o["kind"] == "Job"):
            pod = job["spec"]["template"]["spec"]
            claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]
                      if "persistentVolumeClaim" in v}  # fmt: skip
            queue = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
            wanted = {("Namespace", job["metadata"]["namespace"])}
            wanted |= {("ServiceAccount", pod["serviceAccountName"])}
            wanted |= {("PersistentVolumeClaim", claim) for claim in claims}
            wanted |= {("LocalQueue", queue)} if queue else set()
            assert wanted <= have, folder


def test_every_pod_of_the_mlflow_overlay_is_restricted_and_holds_no_secret():
    objects = built(K8S / "overlays" / "mlflow")
    pods = [o["spec"]["template"]["spec"] for o in objects if o["kind"] in
            ("Deployment", "StatefulSet")]  # fmt: skip
    assert len(pods) == 2
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert "Secret" not in {o["kind"] for o in objects}
    assert "PASSWORD" not in {key for o in objects for key in o.get("data", {})}


def test_the_mlflow_server_is_ready_when_it_answers_what_clients_ask_by_an_allowed_name():
    objects = {o["kind"]: o for o in built(K8S / "overlays" / "mlflow")}
    (server,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    probe = server["readinessProbe"]["httpGet"]
    host = next(h["value"] for h in probe["httpHeaders"] if h["name"] == "Host")
    assert probe["path"].startswith("/api/")
    assert host in objects["ConfigMap"]["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_the_configuration_travels_as_it_was_written(config):
    text = render(config, SMALL)
    assert "# one task is enough" in text  # readable: a literal block, comments and all
    config_map = next(yaml.safe_load_all(text))
    assert config_map["data"]["config.yaml"] == config.read_text()


def test_a_configuration_without_a_cluster_is_refused(config):
    with pytest.raises(ConfigError, match="cluster: missing"):
        render(config, [])


def test_a_wrong_configuration_is_refused_before_it_travels(config):
    with pytest.raises(ConfigError, match=r"train\.epoch: unknown key"):
        render(config, [*SMALL, "train.epoch=1"])


def test_a_password_does_not_reach_a_config_map_nor_the_error(config):
    uri = "track.mlflow.uri=https://me:hunter2@mlflow.example.com"
    with pytest.raises(ConfigError, match="password") as error:
        render(config, [*SMALL, uri])
    assert "hunter2" not in str(error.value)


def test_a_password_in_a_comment_does_not_travel_either(config):
    config.write_text(config.read_text() + "# was: https://me:hunter2@mlflow.example.com\n")
    with pytest.raises(ConfigError, match="ConfigMap") as error:
        render(config, SMALL)
    assert "hunter2" not in str(error.value)


def test_sqlite_on_the_shared_volume_is_refused(config):
    uri = "track.mlflow.uri=sqlite:///mlflow.db"
    with pytest.raises(ConfigError, match=r"track\.mlflow\.uri: .*SQLite"):
        render(config, [*SMALL, uri])
    render(config, [*SMALL, uri, "cluster.claim=null"])


def test_a_run_directory_that_a_pod_cannot_write_is_refused(config):
    with pytest.raises(ConfigError, match=r"run\.dir: /data/run is not on the claim"):
        render(config, [*SMALL, "run.dir=/data/run"])
    render(config, [*SMALL, "run.dir=/workspace/run"])


def test_mistakes_of_the_cluster_and_of_the_job_are_told_together(config):
    with pytest.raises(ConfigError) as error:
        render(config, ["cluster.name=A", "train.epoch=1"])
    paths = {line.partition(":")[0] for line in str(error.value).splitlines()}
    assert paths == {"cluster.name", "cluster.image", "train.epoch"}


def test_the_clusters_mlflow_server_stands_for_the_one_at_home(config):
    uri = ["track.mlflow.uri=sqlite:///mlflow.db", "cluster.mlflow_uri=http://mlflow.mlflow:5000"]
    *_, job = yaml.safe_load_all(render(config, [*SMALL, *uri[1:]]))
    assert job["metadata"]["annotations"]["graphmtl/mlflow-uri"] == "http://mlflow.mlflow:5000"
    assert "track.mlflow.uri=http://mlflow.mlflow:5000" in str(job["spec"]["template"])


def test_a_graph_that_is_copied_is_not_configured_twice(config):
    copied = [*SMALL, "cluster.graph_from=s3://bucket/graph"]
    with pytest.raises(ConfigError, match=r"graph\.num_nodes: unknown key"):
        render(config, [*copied, "graph.num_nodes=7"])
    assert "--copy=s3://bucket/graph" in render(config, copied)


def test_a_configuration_too_large_for_a_config_map_is_refused(config):
    config.write_text(config.read_text() + "# " + "x" * 1_000_000)
    with pytest.raises(ConfigError, match="ConfigMap"):
        render(config, SMALL)
