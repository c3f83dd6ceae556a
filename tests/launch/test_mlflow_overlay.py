"""The cluster's MLflow: its server, with the overlay's command and variables, on PostgreSQL.

All of it is on the loopback of one network namespace, where the Services' names lead. Root only;
`make soak`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "k8s" / "overlays" / "mlflow"
POSTGRES = shutil.which("postgres")
SPACE = "gmtlm"
SERVER = "http://mlflow.mlflow:5000"
SMOKE = [str(ROOT / "job" / "configs" / "smoke.yaml"), "graph.num_nodes=300", "run.dir=run"]
LOOK = """\
import json, sys
from mlflow import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("smoke")
runs = client.search_runs([experiment.experiment_id])
print(json.dumps([{
    "id": run.info.run_id, "status": run.info.status, "metrics": list(run.data.metrics),
    "artifacts": [file.path for file in client.list_artifacts(run.info.run_id)],
} for run in runs]))
"""
ASK = """\
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(error)
"""
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace: root only"),
    pytest.mark.skipif(POSTGRES is None, reason="no postgres in PATH"),
    pytest.mark.skipif(find_spec("psycopg2") is None, reason="no psycopg2 (psycopg2-binary)"),
]
Inside = Callable[..., list[str]]


def manifest(name: str, kind: str) -> Any:
    """Return an object of the overlay."""
    objects = yaml.safe_load_all((OVERLAY / name).read_text())
    return next(o for o in objects if o["kind"] == kind)


def variables(artifacts: Path) -> dict[str, str]:
    """Return the server's environment: the overlay's, but for the object store."""
    (generated,) = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    lines = [*generated["literals"], *(OVERLAY / "secret.env.example").read_text().splitlines()]
    found = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    found["MLFLOW_ARTIFACTS_DESTINATION"] = str(artifacts)
    return {name: value for name, value in found.items() if "S3" not in name}


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    """Return a command that runs as another machine in the namespace."""
    etc = Path("/etc/netns") / SPACE
    subprocess.run(["ip", "netns", "del", SPACE], stderr=subprocess.DEVNULL)  # of a killed test
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    subprocess.run(["ip", "-n", SPACE, "link", "set", "lo", "up"], check=True)
    etc.mkdir(parents=True, exist_ok=True)
    names = "localhost mlflow.mlflow mlflow-postgres tracking.example node-0 node-1"
    (etc / "hosts").write_text(f"127.0.0.1 {names}\n")
    (etc / "nsswitch.conf").write_text("hosts: files\n")

    def inside(*argv: str, host: str = "node-0") -> list[str]:
        named = ["unshare", "--uts", "bash", "-c", f'hostname {host}; exec "$@"', "_"]
        return ["ip", "netns", "exec", SPACE, *named, *argv]

    yield inside
    subprocess.run(["ip", "netns", "del", SPACE], check=True)
    shutil.rmtree(etc)


@pytest.fixture(scope="module")
def server(inside: Inside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start the database and the server, as the overlay's manifests say."""
    folder = tmp_path_factory.mktemp("server")
    env = os.environ | variables(folder / "artifacts")
    home = Path(tempfile.mkdtemp(prefix="gmtl-postgres-"))  # of another user, who must reach it
    data, password = home / "data", home / "password"
    password.write_text(env["POSTGRES_PASSWORD"])
    for path in (home, password):
        shutil.chown(path, "postgres")
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    programs = Path(str(POSTGRES)).resolve().parent
    init = [str(programs / "initdb"), f"--pgdata={data}", "--username=mlflow", "--no-sync"]
    init += ["--auth=scram-sha-256", f"--pwfile={password}"]
    database = [str(programs / "postgres"), "-D", str(data), "-k", str(home)]
    create = [str(programs / "createdb"), "--host=mlflow-postgres", "--username=mlflow", "mlflow"]
    (pod,) = manifest("server.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    probe = pod["readinessProbe"]["httpGet"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        log = stack.enter_context((folder / "log").open("w"))
        subprocess.run([*user, *init], stdout=log, stderr=log, check=True, cwd=home)
        stack.callback(end, subprocess.Popen(inside(*user, *database), stdout=log, stderr=log))
        wait_for(lambda: done(inside(*create), {**env, "PGPASSWORD": env["POSTGRES_PASSWORD"]}))
        serve = inside(sys.executable, "-m", *pod["args"])
        stack.callback(end, subprocess.Popen(serve, env=env, cwd=folder, stdout=log, stderr=log))
        wait_for(lambda: answer(inside, SERVER + probe["path"]) == "200")
        yield


def done(command: list[str], env: dict[str, str]) -> bool:
    return not subprocess.run(command, env=env, stderr=subprocess.DEVNULL).returncode


def answer(inside: Inside, url: str) -> str:
    """Return the status that a name of the namespace is answered with."""
    command = inside(sys.executable, "-c", ASK, url)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def end(process: "subprocess.Popen[Any]") -> None:
    """End a process with all that it has started."""
    for child in [*psutil.Process(process.pid).children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            child.send_signal(signal.SIGTERM)
    process.wait(30)


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_two_machines_log_one_run_with_artifacts_and_what_each_of_them_does(
    inside, server, tmp_path
):
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "WORLD_SIZE": "2"}
    place |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    place |= {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.5", "XDG_CACHE_HOME": str(tmp_path)}
    job = [sys.executable, str(ROOT / "job" / "train.py"), *SMOKE, "train.epochs=60"]
    job += [f"track.mlflow.uri={SERVER}", "track.report=false"]
    nodes = [
        subprocess.Popen(
            inside(*job, host=f"node-{rank}"),
            cwd=tmp_path,
            env={**os.environ, **place, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [node.communicate(timeout=240)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    look = subprocess.run(
        inside(sys.executable, "-c", LOOK, SERVER), capture_output=True, text=True, check=True
    )
    (run,) = json.loads(look.stdout)
    assert run["id"] == json.loads((tmp_path / "run" / "summary.json").read_text())["mlflow_run_id"]
    assert run["status"] == "FINISHED"
    assert {"config.yaml", "dataset.json"} <= {*run["artifacts"]}
    names = {key.rpartition("/")[0] for key in run["metrics"]}
    assert {"test/segment", "system/node-0", "system/node-1"} <= names


def test_a_name_that_is_not_allowed_is_refused_and_the_doctor_says_why(inside, server, tmp_path):
    probe = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert answer(inside, f"http://tracking.example:5000{probe}") == "403"
    assert answer(inside, "http://tracking.example:5000/health") == "200"
    command = [sys.executable, str(ROOT / "job" / "doctor.py"), *SMOKE, "--no-step"]
    for name, code, words in [
        ("tracking.example", 64, "403, it refuses us"),
        ("mlflow.mlflow", 0, "experiment 'smoke' is"),
    ]:
        doctor = subprocess.run(
            inside(*command, f"track.mlflow.uri=http://{name}:5000"),
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert doctor.returncode == code, doctor.stdout + doctor.stderr
        assert words in doctor.stdout
        assert ("--allowed-hosts" in doctor.stdout) == bool(code)
