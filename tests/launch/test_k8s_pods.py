"""Pods that are network namespaces run the rendered manifest: its commands, environment and rules.

A controller of ours does with their exit codes what the manifest's podFailurePolicy says, and makes
a lost pod anew with another address. The launcher is process 1, as without the image's tini.
Root only; `make soak`.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.k8s_request import read_request
from launch.pod import CONFIG, FOLDER

ROOT = Path(__file__).parents[2]
NET = "10.213.7"
PATIENCE_SECONDS = 900  # a minute on an idle machine
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: root only"),
]


def ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True)


class Pods:
    """The pods of one Job, each a network namespace with a name that the others resolve."""

    def __init__(self, job: Any, folder: Path) -> None:
        self.job, self.folder = job["spec"], folder
        self.name = job["metadata"]["name"]
        self.address = {i: 10 + i for i in range(self.job["completions"])}
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.killed: set[int] = set()
        self.codes: list[int] = []
        self.failed, self.next = 0, 50
        for index in range(9):  # of a test that was killed
            subprocess.run(["ip", "netns", "del", f"gmtl{index}"], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", "gmtlbr"], stderr=subprocess.DEVNULL)
        ip("link", "add", "gmtlbr", "type", "bridge")
        ip("addr", "add", f"{NET}.1/24", "dev", "gmtlbr")
        ip("link", "set", "gmtlbr", "up")

    def start(self, index: int) -> None:
        pod, address = f"gmtl{index}", f"{NET}.{self.address[index]}"
        ip("netns", "add", pod)
        ip("link", "add", f"gmtlv{index}", "type", "veth", "peer", "name", "eth0", "netns", pod)
        ip("link", "set", f"gmtlv{index}", "master", "gmtlbr", "up")
        ip("-n", pod, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", pod, "link", "set", "eth0", "up")
        ip("-n", pod, "link", "set", "lo", "up")
        etc = Path("/etc/netns") / pod
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "nsswitch.conf").write_text("hosts: files\n")
        (etc / "hosts").touch()
        self._resolve()
        (self.folder / pod).mkdir(exist_ok=True)
        spec = self.job["template"]["spec"]
        inside = ["ip", "netns", "exec", pod, "unshare", "--uts", "--pid", "--fork", "--kill-child"]
        named = ["bash", "-c", f'hostname {self.name}-{index}; exec "$@"', "_"]
        (bringer,), (trainer,) = spec["initContainers"], spec["containers"]
        with (self.folder / f"{pod}.log").open("ab") as log:
            subprocess.run(
                self._command(bringer, index, address), cwd=self.folder, stdout=log, stderr=log,
                check=True,
            )  # fmt: skip
            command = [*inside, "--mount-proc", *named, *self._command(trainer, index, address)]
            self.processes[index] = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log
            )

    def _command(self, container: Any, index: int, address: str) -> list[str]:
        """Return a container's command as the kubelet starts it; volumes are folders of ours."""
        env = {item["name"]: item.get("value", address) for item in container["env"]}
        env["JOB_COMPLETION_INDEX"] = str(index)
        args = list(container["args"])
        for name, value in env.items():
            args = [arg.replace(f"$({name})", value) for arg in args]
        places = {
            "/tmp": str(self.folder / f"gmtl{index}"),
            CONFIG: str(self.folder / "config.yaml"),
            FOLDER: str(self.folder),
        }
        assert args[0] == "python"
        env = {key: _moved(value, places) for key, value in env.items()}
        args = [sys.executable, *(_moved(arg, places) for arg in args[1:])]
        return ["env", *(f"{k}={v}" for k, v in env.items()), f"PYTHONPATH={ROOT}", *args]

    def _resolve(self) -> None:
        domain = self.job["template"]["spec"]["subdomain"]
        lines = [
            f"{NET}.{last} {self.name}-{i}.{domain} {self.name}-{i}"
            for i, last in self.address.items()
        ]
        for hosts in Path("/etc/netns").glob("gmtl*/hosts"):
            hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def process_1(self, index: int) -> int:
        """Return the process, as we see it, that is the first one in a pod."""
        parent = self.processes[index].pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(children[0])

    def signal(self, index: int, number: int) -> None:
        if number == signal.SIGKILL:
            self.killed.add(index)
        os.kill(self.process_1(index), number)

    def step(self) -> bool:
        """Do what a Job controller does; return whether all pods have succeeded."""
        for index, process in list(self.processes.items()):
            code = process.poll()
            if code is None or code == 0:
                continue
            if index in self.killed:  # unshare ends with 1 where its child was killed
                self.killed.remove(index)
                code = 128 + signal.SIGKILL
            self.codes.append(code)
            action = self._action(code)
            assert action != "FailJob", f"pod {index} ended with {code}: {self.logs()}"
            self.failed += action == "Count"
            assert self.failed <= self.job["backoffLimit"], self.logs()
            self.remove(index)
            self.address[index] = self.next = self.next + 1
            self.start(index)
        return all(process.poll() == 0 for process in self.processes.values())

    def _action(self, code: int) -> str:
        for rule in self.job["podFailurePolicy"]["rules"]:
            if code in rule.get("onExitCodes", {}).get("values", []):
                return str(rule["action"])
        return "Count"

    def logs(self) -> str:
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}: {file.read_text()[-3000:]}" for file in files)

    def remove(self, index: int) -> None:
        process = self.processes.pop(index)
        process.kill()
        process.wait()
        subprocess.run(["ip", "netns", "del", f"gmtl{index}"], check=False)
        subprocess.run(
            ["ip", "link", "del", f"gmtlv{index}"], check=False, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        for index in list(self.processes):
            self.remove(index)
        ip("link", "del", "gmtlbr")
        for folder in Path("/etc/netns").glob("gmtl*"):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def _moved(text: str, places: dict[str, str]) -> str:
    for place, ours in places.items():
        if text == place or text.startswith(f"{place}/"):
            return ours + text.removeprefix(place)
    return text


def start(folder: Path, nodes: int) -> Pods:
    smoke = (ROOT / "job" / "configs" / "smoke.yaml").read_text()
    (folder / "config.yaml").write_text(smoke)
    overrides = [
        "cluster.name=tiny", "cluster.image=x", f"cluster.nodes={nodes}", "cluster.gpus=0",
        "cluster.cpus=1", "cluster.restarts=9", "track.mlflow=null", "train.epochs=25",
        "run.dir=run", "checkpoint.keep=100", "track.report=false",
    ]  # fmt: skip
    rendered = read_request(str(folder / "config.yaml"), overrides).yaml()
    pods = Pods(next(o for o in yaml.safe_load_all(rendered) if o["kind"] == "Job"), folder)
    for index in range(nodes):
        pods.start(index)
    return pods


def run(pods: Pods, disturb: Any = None) -> str:
    """Let a run end; return what its final parameters are. `disturb` comes after a checkpoint."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    checkpoints = pods.folder / "run" / "checkpoints"
    while not pods.step():
        assert time.monotonic() < deadline, pods.logs()
        if disturb is not None and len(list(checkpoints.glob("step_*/manifest.json"))) >= 2:
            disturb()
            disturb = None
        time.sleep(0.05)
    assert disturb is None, "it ended before it was disturbed"
    newest = max(checkpoints.glob("step_*"))
    return sha256(
        b"".join(f.read_bytes() for f in sorted(newest.glob("model*.safetensors")))
    ).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Return the final parameters of a run on so many nodes that nothing happens to."""

    @cache
    def final(nodes: int) -> str:
        with closing(start(tmp_path_factory.mktemp("undisturbed"), nodes)) as pods:
            weights = run(pods)
            assert pods.codes == []
        return weights

    return final


@pytest.mark.parametrize("nodes", [2, 3])
def test_pods_meet_and_finish(undisturbed, nodes):
    assert undisturbed(nodes)


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_pod_comes_back_elsewhere_and_nothing_is_lost(undisturbed, tmp_path, seed):
    nodes, draw = 2 + seed % 2, random.Random(seed)
    wanted = undisturbed(nodes)
    with closing(start(tmp_path, nodes)) as pods:

        def kill() -> None:
            time.sleep(draw.random() * 2)
            pods.signal(draw.randrange(nodes), signal.SIGKILL)

        assert run(pods, kill) == wanted
        assert 137 in pods.codes


@pytest.mark.parametrize("index", [0, 1])
def test_an_evicted_pod_and_its_peers_save_and_cost_no_failure(undisturbed, tmp_path, index):
    wanted = undisturbed(2)
    with closing(start(tmp_path, 2)) as pods:
        assert run(pods, lambda: pods.signal(index, signal.SIGTERM)) == wanted
        assert (pods.codes, pods.failed) == ([75, 75], 0)
