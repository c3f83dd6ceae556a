"""Passwords, tokens and signatures: in no file of a run, not in MLflow, on no page, unsaid."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from job.mlflow_sink import send_run
from job.redaction import holds_secret, without_secrets
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ry"
"""Part of every secret of this file."""
SECRETS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}1",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}/2+aws",
    "AWS_SESSION_TOKEN": f"{CANARY}3",
    "HF_TOKEN": f"hf_{CANARY}4",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}5@/:",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}6",
    "DATABASE_URL": f"postgresql://me:{CANARY}7@db/x",
    "PGPASSWORD": f"{CANARY}8",
}
WRAPPER = """
import os, runpy, sys
os.environ |= {secrets}
sys.argv[0] = {script!r}
{more}
runpy.run_path(sys.argv[0], run_name="__main__")
"""
BUG = """
import mtl.models.multitask
def bug(*_):
    raise RuntimeError(" ".join(os.environ[name] for name in {names}))
mtl.models.multitask.build_model = bug
"""


@pytest.fixture
def leaks(tmp_path: Path, cache_home: Path) -> Callable[[], list[str]]:
    """Return the files that hold a secret, of all that was written; outputs are among them."""

    def leaks() -> list[str]:
        files = (p for top in (tmp_path, cache_home) for p in top.rglob("*") if p.is_file())
        return [str(path) for path in files if CANARY.encode() in path.read_bytes()]

    return leaks


@pytest.fixture
def run(start, tmp_path_factory, tmp_path):
    """Start a command with secrets in its environment; return how it ended."""

    def run(*argv: str, script: str = "job/train.py", more: str = ""):
        wrapper = tmp_path_factory.mktemp("wrapper") / "wrapper.py"
        text = WRAPPER.format(secrets=SECRETS, script=str(ROOT / script), more=more)
        wrapper.write_text(text)
        return start(tmp_path, *argv, script=str(wrapper)).end()

    return run


@pytest.fixture(autouse=True)
def reported(fault_report):
    """Each test is one way to a leak."""
    fault_report(
        "a secret in the environment or in an address",
        "canaries in variables, addresses and queries; a whole run with pages and MLflow, a bug, a "
        "server that is down, wrong configurations; every file is searched afterwards",
        "in no file, page, parameter, tag or message",
        times=1,
    )


SMOKE = [str(ROOT / "job/configs/smoke.yaml"), "graph.num_nodes=300", "train.epochs=1"]


def test_a_whole_run_without_its_server_holds_no_secret(run, leaks, tmp_path):
    ending = run(*SMOKE, "graph.cache=cache", "track.mlflow.uri=http://127.0.0.1:9")
    assert ending.code == 0, ending.stderr
    assert "python -m job.track" in ending.stdout + ending.stderr
    assert (tmp_path / "runs/smoke/report.html").is_file()
    assert leaks() == []


@pytest.mark.soak
def test_mlflow_its_artifacts_a_model_and_pages_hold_no_secret(run, leaks, tmp_path):
    ending = run(*SMOKE, "graph.cache=cache", "track.mlflow.log_model=true")
    assert ending.code == 0, ending.stderr
    assert (tmp_path / "mlflow.db").is_file()
    assert (tmp_path / "runs/smoke/model/MLmodel").is_file()
    examined = run(*SMOKE, "graph.cache=cache", "json=found.json", script="job/doctor.py")
    assert examined.code == 0, examined.stdout
    run("--html", "page.html", script="job/compare.py")
    assert (tmp_path / "page.html").is_file()
    assert leaks() == []


def test_a_bug_tells_no_secret(run, leaks, tmp_path):
    bug = BUG.format(names=[*SECRETS])
    ending = run(*SMOKE, "graph.cache=cache", "track.mlflow=null", more=bug)
    assert ending.code == 70
    assert "RuntimeError: ***" in ending.stderr
    exit_json = json.loads((tmp_path / "runs/smoke/exit.json").read_text())
    assert "RuntimeError: ***" in exit_json["cause"]
    assert leaks() == []


ADDRESSES = [
    f"https://me:{CANARY}@mlflow.example.com",
    f"https://{CANARY}@mlflow.example.com",
    f"postgresql://me:{CANARY}@db.example.com/mlflow",
    f"postgresql://me:a/b@{CANARY}@db.example.com/mlflow",
    f"s3://key:{CANARY}@bucket/graph",
    f"https://x.example/f.csv?X-Amz-Signature={CANARY}&a=1",
    f"https://x.example/f.csv?a=1&sig={CANARY}",
    f"s3://bucket/x?secret_key={CANARY}",
    f"mysql://me@db/x?passwd={CANARY}",
]
PLAIN = [
    *("https://mlflow.example.com:5000/a@b", "postgresql://me@db/x", "s3://bucket/design=1"),
    *("sqlite:///mlflow.db", "https://x.example/f?version=2", "a:b@c", "user@host", "x?y=1"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_secret_is_refused_unseen(address, run_config):
    for assignment in (f"track.mlflow.uri='{address}'", f"graph.root='{address}'"):
        message = run_config(assignment)
        assert "an address with a password or a signature" in message
        assert "docs/security.md" in message
        assert CANARY not in message


@pytest.fixture
def run_config():
    """Read the quick start with an override; return why it is refused."""
    from job.config import load

    def run_config(assignment: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load([assignment])
        return str(caught.value)

    return run_config


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_its_secret(address):
    shown = without_secrets(f"cannot reach {address}, try again")
    assert CANARY not in shown
    assert shown.startswith("cannot reach ")
    assert shown.endswith("try again") or "@" in shown


@pytest.mark.parametrize("address", PLAIN)
def test_an_address_without_one_is_none(address):
    assert not holds_secret(address)


@pytest.mark.parametrize("name", SECRETS)
def test_a_variable_of_the_environment_is_never_shown(name, monkeypatch):
    monkeypatch.setenv(name, SECRETS[name])
    if name != "MLFLOW_TRACKING_USERNAME":
        assert CANARY not in without_secrets(f"it was {SECRETS[name]}!")


def test_folders_and_switches_are_no_secrets(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert without_secrets(f"{os.getcwd()} is false") == f"{os.getcwd()} is false"


def test_what_remembers_the_store_takes_no_password(tmp_path):
    (tmp_path / "mlflow.json").write_text(json.dumps({"uri": None, "experiment": None}))
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match="--uri: holds a password"):
        send_run(tmp_path, ADDRESSES[0], None)
    assert CANARY not in (tmp_path / "mlflow.json").read_text()
