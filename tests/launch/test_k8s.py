"""`render` prints what the shipped examples hold, and refuses what would fail in the cluster."""

import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from launch.k8s import main, render
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
VERSIONS = ["1.31", kubernetes_validate.latest_version()]
STATIC = sorted((ROOT / "k8s").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "k8s" / "examples").glob("*.yaml"))
SMALL = ["cluster.name=tiny", "cluster.image=example/graphmtl:0.1.0"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_what_its_first_line_prints(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command = path.read_text().splitlines()[0].removeprefix("# ")
    main(shlex.split(command)[2:])
    rendered = capsys.readouterr().out
    assert path.read_text() == rendered, f"run: {command} > k8s/examples/{path.name}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", [*STATIC, *EXAMPLES], ids=lambda path: path.stem)
def test_every_shipped_manifest_is_valid(path, version):
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] != "Kustomization":
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_kustomization_holds_every_static_manifest():
    kustomization = yaml.safe_load((ROOT / "k8s" / "kustomization.yaml").read_text())
    others = {path.name for path in STATIC} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_builds_the_static_manifests():
    build = subprocess.run(["kubectl", "kustomize", ROOT / "k8s"], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    assert build.stdout.count("\nkind: ") == 4


def test_the_static_manifests_are_those_that_runs_ask_for(config):
    objects = [yaml.safe_load(path.read_text()) for path in STATIC]
    have = {(o["kind"], o["metadata"]["name"]) for o in objects if "metadata" in o}
    job = list(yaml.safe_load_all(render(str(config), SMALL)))[-1]
    pod = job["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if len(v) == 2
              and "persistentVolumeClaim" in v]  # fmt: skip
    assert ("Namespace", job["metadata"]["namespace"]) in have
    assert ("ServiceAccount", pod["serviceAccountName"]) in have
    assert {("PersistentVolumeClaim", claim) for claim in claims} <= have


def test_the_configuration_travels_as_it_was_written(config):
    text = render(str(config), SMALL)
    assert "# one task is enough" in text  # readable: a literal block, comments and all
    config_map = next(yaml.safe_load_all(text))
    assert config_map["data"]["config.yaml"] == config.read_text()


def test_a_configuration_without_a_cluster_is_refused(config):
    with pytest.raises(ConfigError, match="cluster: missing"):
        render(str(config), [])


def test_a_wrong_configuration_is_refused_before_it_travels(config):
    with pytest.raises(ConfigError, match=r"train\.epoch: unknown key"):
        render(str(config), [*SMALL, "train.epoch=1"])


def test_a_password_does_not_reach_a_config_map_nor_the_error(config):
    uri = "track.mlflow.uri=https://me:hunter2@mlflow.example.com"
    with pytest.raises(ConfigError, match="password") as error:
        render(str(config), [*SMALL, uri])
    assert "hunter2" not in str(error.value)


def test_sqlite_on_the_shared_volume_is_refused(config):
    uri = "track.mlflow.uri=sqlite:///mlflow.db"
    with pytest.raises(ConfigError, match=r"track\.mlflow\.uri: .*SQLite"):
        render(str(config), [*SMALL, uri])
    render(str(config), [*SMALL, uri, "cluster.claim=null"])


def test_a_run_directory_that_a_pod_cannot_write_is_refused(config):
    with pytest.raises(ConfigError, match=r"run\.dir: /data/run is not on the claim"):
        render(str(config), [*SMALL, "run.dir=/data/run"])
    render(str(config), [*SMALL, "run.dir=/workspace/run"])
