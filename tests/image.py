"""Build the image and run it without a daemon: read-only, as its own user, without capabilities.

usage: python tests/image.py [ARGUMENT ...]     (root; `make image-test`)

Needs buildah and runc. All arguments go on to `buildah bud`. BASE_IMAGE names the base; else
it is a stand-in that debootstrap makes, Debian with its own Python.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BASE, IMAGE = "localhost/graphmtl-base", "localhost/graphmtl-test"
USER = 10001
PATIENCE_SECONDS = 300
NAMES: list[str] = []
"""Of the containers that were started."""
PORT = 29417
TMPFS = ["nosuid", "nodev", "mode=1777"]
LOOK = """\
import os
effective = next(line for line in open("/proc/self/status") if line.startswith("CapEff"))
is_read_only = os.statvfs("/").f_flag & os.ST_RDONLY
print(os.getuid(), os.getgid(), int(effective.split()[1], 16), is_read_only)
for path in ("/tmp", "/workspace"):
    open(f"{path}/written", "w").close()
"""


def main(arguments: list[str]) -> None:
    """Build and try; end with what went wrong."""
    for program in ("buildah", "runc"):
        if os.geteuid() or shutil.which(program) is None:
            sys.exit(f"image-test: needs root, and {program} in PATH")
    base = os.environ.get("BASE_IMAGE") or stand_in()
    options = ["--layers", "--isolation=chroot", f"--build-arg=BASE_IMAGE={base}", f"--tag={IMAGE}"]
    run("buildah", "bud", *options, *arguments, str(ROOT))
    try_out()
    print("image-test: built; uid 10001, read-only, no capabilities; smoke run, 2 x 2 processes")


def try_out() -> None:
    """Run the image in three ways."""
    with container() as (root, image), tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "workspace"
        shared.mkdir()
        os.chown(shared, USER, USER)
        look = start(root, image, folder, ["python", "-c", LOOK], shared, 0)
        found = look.communicate(timeout=PATIENCE_SECONDS)[0].split()
        check(found == [str(USER), str(USER), "0", "1"], f"user, capabilities, read-only: {found}")
        alone = start(root, image, folder, image["Cmd"], None, 0)
        said = alone.communicate(timeout=PATIENCE_SECONDS)[0]
        check(not alone.returncode and "test split" in said, f"the smoke configuration: {said}")
        nodes = [start(root, image, folder, train_on(node), shared, node) for node in (0, 1)]
        words = [node.communicate(timeout=PATIENCE_SECONDS)[0] for node in nodes]
        check([node.returncode for node in nodes] == [0, 0], f"2 x 2 processes: {words}")
        summary = json.loads((shared / "run" / "summary.json").read_text())
        check(summary["world_size"] == 4, f"world size {summary['world_size']}")


def train_on(node: int) -> list[str]:
    """Return the command of one machine of two; torch tells them apart by address and process."""
    launcher = ["python", "-m", "launch.local", "--nproc=2", "--nnodes=2", f"--node-rank={node}"]
    launcher += [f"--rdzv-endpoint=127.0.0.1:{PORT}", f"--local-addr=127.0.0.{node + 1}"]
    return [*launcher, "/app/job/configs/smoke.yaml", "track.mlflow=null", "run.dir=run"]


def stand_in() -> str:
    """Make a base image of the distribution's packages, once."""
    if subprocess.run(["buildah", "inspect", BASE], capture_output=True).returncode:
        with tempfile.TemporaryDirectory() as folder:
            packages = "--include=python3,python3-venv,ca-certificates"
            run("debootstrap", "--variant=minbase", packages, "bookworm", folder)
            name = run("buildah", "from", "scratch")
            run("buildah", "add", name, folder, "/")
            run("buildah", "commit", "--rm", name, BASE)
    return BASE


@contextmanager
def container() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Mount the image; yield its files and its configuration."""
    image = json.loads(run("buildah", "inspect", "--type=image", IMAGE))
    name = run("buildah", "from", IMAGE)
    try:
        yield Path(run("buildah", "mount", name)), image["OCIv1"]["config"]
    finally:
        for left in NAMES:
            subprocess.run(["runc", "delete", "--force", left], stderr=subprocess.DEVNULL)
        run("buildah", "rm", name)


def start(
    root: Path,
    image: dict[str, Any],
    folder: str,
    command: list[str],
    workspace: Path | None,
    number: int,
) -> "subprocess.Popen[str]":
    """Start a container as Kubernetes would, but on the network of this machine."""
    bundle = Path(tempfile.mkdtemp(prefix="graphmtl-test-", dir=folder))
    scratch = {"type": "tmpfs", "source": "tmpfs", "options": TMPFS}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/dev/shm", **scratch},
        {"destination": "/tmp", **scratch},
        {"destination": "/etc/hosts", "source": str(bundle / "hosts"), "options": ["rbind", "ro"]},
        {"destination": "/workspace", **scratch, "options": [*TMPFS, f"uid={USER}"]}
        if workspace is None
        else {"destination": "/workspace", "source": str(workspace), "options": ["rbind", "rw"]},
    ]
    uid, gid = map(int, image["User"].split(":"))
    process = {
        "user": {"uid": uid, "gid": gid},
        "args": [*image["Entrypoint"], *command],
        "env": image["Env"],
        "cwd": image["WorkingDir"],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    spaces = [{"type": name} for name in ("pid", "mount", "uts", "ipc")]
    spec = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(root), "readonly": True},
        "hostname": f"node-{number}",
        "mounts": mounts,
        "linux": {"namespaces": spaces},
    }
    (bundle / "hosts").write_text("127.0.0.1 localhost node-0 node-1\n")
    (bundle / "config.json").write_text(json.dumps(spec))
    NAMES.append(bundle.name)
    return subprocess.Popen(
        ["runc", "run", f"--bundle={bundle}", bundle.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def run(*command: str) -> str:
    """Run a command to its end; return what it printed."""
    print("+", *command, file=sys.stderr, flush=True)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def check(holds: bool, what: str) -> None:
    """End where something is not as it should be."""
    if not holds:
        sys.exit(f"image-test: {what}")


if __name__ == "__main__":
    main(sys.argv[1:])
