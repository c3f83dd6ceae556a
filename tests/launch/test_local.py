"""The command line becomes torchrun's; a mistake ends before anything was made."""

import subprocess
import sys
from pathlib import Path

import pytest

from job.arguments import exit_code
from launch.local import TRAIN, main
from mtl.errors import ConfigError

ROOT = Path(__file__).parents[2]
TWO_NODES = ["--nproc", "1", "--nnodes", "2", "--rdzv-endpoint", "a-0.a:29400"]


@pytest.fixture
def dry_run(capsys, config, monkeypatch):
    """Return the words that --dry-run prints."""
    monkeypatch.chdir(config.parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    def run(*argv: str) -> list[str]:
        assert main(["--dry-run", *argv, str(config)]) == 0
        return capsys.readouterr().out.split()

    return run


def test_one_machine_meets_itself_without_asking_for_its_name(dry_run):
    words = dry_run("--nproc", "2")
    assert words[2] == "torchrun"
    assert {"--nproc-per-node=2", "--max-restarts=0"} < {*words}
    assert {"--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"} < {*words}
    assert words[-2] == str(TRAIN)


def test_overrides_may_stand_before_options(capsys, config):
    main([str(config), "train.epochs=2", "--nproc", "1", "--dry-run"])
    assert capsys.readouterr().out.endswith(f"{TRAIN} {config} train.epochs=2\n")


def test_threads_share_the_cores_unless_they_are_set(dry_run, monkeypatch, capsys, config):
    assert dry_run("--nproc", "2")[0] == "OMP_NUM_THREADS=3"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("launch.local.count_cores", lambda: 8)
    assert dry_run("--nproc", "2")[0] == "OMP_NUM_THREADS=4"
    assert dry_run("--nproc", "16")[0] == "OMP_NUM_THREADS=1"


@pytest.mark.parametrize(("rank", "hosts"), [("0", "true"), ("1", "false")])
def test_the_first_machine_hosts_the_meeting_whatever_the_dns_says(dry_run, rank, hosts):
    assert f"--rdzv-conf=is_host={hosts}" in dry_run(*TWO_NODES, "--node-rank", rank)


def test_machines_without_a_place_to_meet_are_refused(dry_run):
    with pytest.raises(ConfigError, match="--rdzv-endpoint HOST:PORT is missing"):
        dry_run("--nnodes", "2")


def test_torchruns_own_variables_are_the_defaults(dry_run, monkeypatch):
    for name, value in {"NNODES": "2", "NPROC_PER_NODE": "3", "NODE_RANK": "1"}.items():
        monkeypatch.setenv(f"PET_{name}", value)
    monkeypatch.setenv("PET_MASTER_ADDR", "first")
    monkeypatch.setenv("PET_MASTER_PORT", "7777")
    words = dry_run()
    assert {"--nproc-per-node=3", "--nnodes=2", "--rdzv-backend=static", "--node-rank=1"} < {*words}
    assert "--rdzv-endpoint=first:7777" in words


def test_one_machine_of_a_cluster_does_not_ask_for_its_own_name(dry_run, monkeypatch):
    monkeypatch.setenv("PET_NNODES", "1")
    monkeypatch.setenv("PET_MASTER_ADDR", "first")
    assert "--rdzv-endpoint=127.0.0.1:0" in dry_run("--max-restarts", "3")


def test_a_machine_without_a_number_is_refused(dry_run):
    with pytest.raises(ConfigError, match="--node-rank: missing"):
        dry_run(*TWO_NODES)


def test_a_lost_machine_of_several_can_be_replaced(dry_run, monkeypatch):
    monkeypatch.delenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", raising=False)
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in dry_run(*TWO_NODES, "--node-rank", "1")
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" not in dry_run("--nproc", "2")


def test_restarts_are_refused_where_machines_meet_once(dry_run):
    with pytest.raises(ConfigError, match="cannot meet twice"):
        dry_run(*TWO_NODES, "--rdzv-backend", "static", "--max-restarts", "1")


@pytest.mark.parametrize("option", ["--nproc=0", "--nproc=x", "--max-restarts=-1", "--nope"])
def test_a_wrong_option_ends_with_64_and_names_it(capsys, config, option):
    assert exit_code(lambda: main([option, str(config)])) == 64
    assert option.partition("=")[0] in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(dry_run, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert "--nproc-per-node=2" in dry_run()
    with pytest.raises(ConfigError, match=r"--nproc 4: this machine has 2 GPUs"):
        dry_run("--nproc", "4")


def test_a_wrong_configuration_ends_with_64_before_there_is_a_run_directory(launch, tmp_path):
    process = launch("raise SystemExit(1)", "--nproc", "1", "train.epoch=3", "run.dir=run")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 64
    assert "train.epoch: unknown key" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "run").exists()


def test_the_job_gets_the_configuration_and_its_code_comes_back(launch, config):
    process = launch("import sys; print(*sys.argv[1:]); sys.exit(76)", "--nproc", "1", "run.seed=1")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 76, stderr
    assert stdout == f"run.seed=1 {config}\n"


def test_help_does_not_wait_for_torch():
    code = "import sys; from launch.local import main; main(['--help'])"
    heavy = "sys.modules.keys() & {'torch', 'mlflow', 'accelerate', 'numba'}"
    code = f"import atexit, sys; atexit.register(lambda: print({heavy})); {code}"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.startswith("usage: python launch/local.py")
    assert shown.stdout.endswith("set()\n")
