"""The script that sbatch takes: what it asks for, and what it does at each ending."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.slurm import render
from mtl.errors import ConfigError

SMALL = {"name": "tiny", "nodes": 2, "nproc_per_node": 4, "cpus": 8, "memory": "64Gi"}


@pytest.fixture
def script(config, tmp_path):
    """Render the script of a `cluster:` section."""

    def script(overrides: tuple[str, ...] = (), **more: object) -> str:
        path = tmp_path / "cluster.yaml"
        path.write_text(config.read_text() + yaml.safe_dump({"cluster": {**SMALL, **more}}))
        return render(str(path), list(overrides))

    return script


def asks_for(script: str) -> list[str]:
    """Return the options of sbatch, which ends to look for them at the first command."""
    head = script.split("\n\n", 1)[0].splitlines()
    assert head[0] == "#!/bin/bash"
    assert "#SBATCH" not in script.split("\n\n", 1)[1]
    return [line.removeprefix("#SBATCH ") for line in head if line.startswith("#SBATCH ")]


def test_one_launcher_for_each_machine_with_its_cores_gpus_and_memory(script):
    wanted = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=8", "--gpus-per-node=4"]
    assert {*wanted, "--mem=64G"} < {*asks_for(script())}


def test_machines_without_gpus_are_asked_for_none(script):
    assert not [option for option in asks_for(script(gpus=0)) if "gpu" in option]


def test_what_is_not_set_is_left_to_the_cluster(script):
    words = " ".join(asks_for(script()))
    assert not [name for name in ("partition", "account", "time=") if name in words]
    slurm = {"partition": "gpu", "account": "me", "time": "1-00:00:00", "options": ["--exclusive"]}
    wanted = {"--partition=gpu", "--account=me", "--time=1-00:00:00", "--exclusive"}
    assert wanted < {*asks_for(script(slurm=slurm))}


@pytest.mark.parametrize("time", [90, "90", "12:00:00", "1-12", "1-00:00:00"])
def test_a_time_may_be_minutes_or_as_slurm_writes_it(script, time):
    assert f"--time={time}" in asks_for(script(slurm={"time": time}))


def test_the_cores_of_a_task_are_told_to_srun_too(script):
    assert "srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task=8 " in script()


def test_lines_of_setup_and_variables_come_before_the_start(script):
    text = script(slurm={"setup": ["module load cuda"]}, env={"NCCL_DEBUG": "a b"})
    assert text.index("module load cuda\n") < text.index("export NCCL_DEBUG='a b'\n")
    assert text.index("export NCCL_DEBUG") < text.index("srun ")


@pytest.mark.parametrize(
    ("slurm", "path"),
    [
        ({"partition": "a b"}, "cluster.slurm.partition: expected a name without spaces"),
        ({"time": "soon"}, "cluster.slurm.time: expected a time like 90 (minutes)"),
        ({"options": ["-N 3"]}, "cluster.slurm.options"),
        ({"setup": ["a\nb"]}, "cluster.slurm.setup"),
        ({"partitions": "a"}, "cluster.slurm.partitions: unknown key; did you mean 'partition'?"),
    ],
)
def test_a_mistake_is_named_by_its_path(script, slurm, path):
    with pytest.raises(ConfigError) as error:
        script(slurm=slurm)
    assert path in str(error.value)


def test_a_configuration_without_machines_is_refused(config):
    with pytest.raises(ConfigError, match="cluster: missing"):
        render(str(config), [])


class Cluster:
    """Commands of Slurm that note what they were asked, in a folder of their own."""

    def __init__(self, folder: Path, code: int, state: str) -> None:
        self._folder, self.asked = folder, folder / "asked"
        started = folder / "started"
        self._command("scontrol", '[ "$1" = show ] && printf "n0\\nn1\\n"')
        self._command("squeue", f"echo {state}")
        self._command("scancel", f"touch {folder}/told")
        wait = f"while ! [ -e {folder}/told ]; do sleep 0.05; done" if code == 75 else ":"
        self._command("srun", f"touch {started}; {wait}; exit {code}")
        self.started = started

    def start(self, script: str) -> "subprocess.Popen[bytes]":
        """Run the script as Slurm does."""
        variables = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[0-1]"}
        variables |= {"SLURM_JOB_NUM_NODES": "2", "PATH": f"{self._folder}:{os.environ['PATH']}"}
        return subprocess.Popen(["bash", "-c", script], env={**os.environ, **variables})

    def calls(self, name: str) -> list[list[str]]:
        """Return the arguments of each call of a command."""
        calls = [json.loads(line) for line in self.asked.read_text().splitlines()]
        return [call[1:] for call in calls if call[0] == name]

    def _command(self, name: str, lines: str) -> None:
        note = "import json, sys; print(json.dumps(sys.argv[1:]))"
        path = self._folder / name
        path.write_text(f"#!/bin/sh\npython3 -c '{note}' {name} \"$@\" >> {self.asked}\n{lines}\n")
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [
        (75, "RUNNING", [["requeue", "77"]]),
        (75, "COMPLETING", []),  # scancel
        (70, "RUNNING", []),
        (0, "RUNNING", []),
        (143, "RUNNING", [["requeue", "77"]]),
    ],
)
def test_a_job_that_was_told_to_stop_is_queued_again(
    script, wait_until, tmp_path, code, state, requeued
):
    cluster = Cluster(tmp_path, code, state)
    process = cluster.start(script())
    if code == 75:
        wait_until(cluster.started.exists)
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == code
    assert cluster.calls("scancel") == [["--signal=TERM", "77"]] * (code == 75)
    assert [call for call in cluster.calls("scontrol") if call[0] != "show"] == requeued


def test_each_machine_starts_its_share_and_all_meet_at_the_first(script, tmp_path):
    cluster = Cluster(tmp_path, 0, "RUNNING")
    assert cluster.start(script(("run.name=a b",))).wait(20) == 0
    ((*_, config, override),) = cluster.calls("srun")
    assert (Path(config).name, override) == ("cluster.yaml", "run.name=a b")
    options = {*cluster.calls("srun")[0]}
    assert {"--nproc=4", "--nnodes=2", "--rdzv-endpoint=n0:20077", "--rdzv-id=77"} < options


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say(script):
    check = ["shellcheck", "--shell=bash", "-"]
    text = script(("run.name=it's",), env={"A": "a b"}, slurm={"setup": ["module load cuda"]})
    done = subprocess.run(check, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=20))
def test_no_value_gets_out_of_its_word(script, value):
    text = script(env={"V": value})
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    (line,) = [line for line in text.splitlines() if line.startswith("export V=")]
    assert shlex.split(line) == ["export", f"V={value}"]
