"""launch: the job on this machine's devices, or this machine's share of a job on several.

Also the container's entry point: what Kubernetes sees is the exit code of the job itself.
"""

import os
import shlex
import signal
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

from job.arguments import Parser, exit_code, natural, positive
from job.config import load
from job.hardware import count_cores
from job.replay import asked
from launch.init import with_init
from mtl.errors import ConfigError

TRAIN = Path(__file__).resolve().parents[1] / "job" / "train.py"
LOOPBACK, PORT = "127.0.0.1", 29500
SHUTDOWN_SECONDS = 90  # to save after SIGTERM; torchrun's own 30 s cut a large checkpoint off


def main(argv: list[str], script: Path = TRAIN) -> int:
    """Check the configuration, start `script` under torchrun, return the job's exit code."""
    options = parser().parse_intermixed_args(argv)
    job, again = asked(options.job)
    config = load(job)
    nproc = _nproc(options.nproc)
    command = [*torchrun(options, nproc), str(script), *options.job]
    environment = {
        "OMP_NUM_THREADS": str(max(1, count_cores() // nproc)),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS),
    }
    if options.nnodes > 1:  # or a machine that is lost and replaced can never join the others
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    environment = {name: os.environ.get(name, value) for name, value in environment.items()}
    if options.dry_run:
        settings = [f"{name}={value}" for name, value in environment.items()]
        print(*settings, "torchrun", shlex.join(command))
        return 0
    os.environ.update(environment)
    from launch.elastic import supervise  # torch: 1.3 s that --help and mistakes do not wait for

    run_dir = config.run.dir if again is None else again.out  # a replay only reads the other
    return supervise(command, run_dir, options.max_restarts)


def torchrun(options: Namespace, nproc: int) -> list[str]:
    """Write torchrun's own arguments.

    Raises:
        ConfigError: several machines without a place to meet, or restarts where they would hang.
    """
    arguments = [f"--nproc-per-node={nproc}", "--max-restarts=0"]
    endpoint, backend, address = options.rdzv_endpoint, options.rdzv_backend, options.local_addr
    if not endpoint and options.nnodes > 1 and "PET_MASTER_ADDR" in os.environ:
        endpoint = f"{os.environ['PET_MASTER_ADDR']}:{os.environ.get('PET_MASTER_PORT', PORT)}"
        backend = backend or "static"
    backend = backend or "c10d"
    if not endpoint and options.nnodes > 1:
        raise ConfigError(f"--nnodes {options.nnodes}: --rdzv-endpoint HOST:PORT is missing")
    if not endpoint:
        # by number: a machine that cannot resolve its own name would wait for ever
        endpoint, address, backend = f"{LOOPBACK}:0", address or LOOPBACK, "c10d"
    if options.nnodes > 1 and backend == "c10d" and options.node_rank is None:
        raise ConfigError(
            "--node-rank: missing; it is the number of this machine, 0 on the one that "
            "--rdzv-endpoint names"
        )
    if backend == "static" and options.max_restarts:
        raise ConfigError(
            f"--max-restarts {options.max_restarts}: machines that meet by --rdzv-backend static "
            "cannot meet twice; take c10d, or 0 here and let the cluster restart the job"
        )
    arguments += [f"--nnodes={options.nnodes}", f"--rdzv-backend={backend}"]
    arguments += [f"--rdzv-id={options.rdzv_id}", f"--rdzv-endpoint={endpoint}"]
    arguments += [f"--local-addr={address}"] * bool(address)
    return arguments + _place(backend, options.node_rank)


def parser() -> Parser:
    """Describe the command line; the options for several machines default to torchrun's PET_*."""
    environ = os.environ
    parser = Parser(
        prog="python launch/local.py",
        usage="%(prog)s [--nproc N] [--max-restarts N] [--dry-run] [CONFIG.yaml] [key=value ...]",
        description="Run the job with one process for each GPU of this machine.",
        epilog="Exit codes are the job's: 0 done, 64 configuration, 65 data, 70 bug, 73 cannot "
        "write, 75 stopped and resumable, 76 non-finite numbers, 77 refused, 78 run directory in "
        "use, 79 collective timed out, 128+n signal n.",
    )
    add = parser.add_argument
    add("job", nargs="*", metavar="CONFIG.yaml key=value", help="as for job/train.py")
    add("--nproc", type=positive, default=environ.get("PET_NPROC_PER_NODE"), metavar="N",
        help="processes on this machine; default: its GPUs, or 1")  # fmt: skip
    add("--max-restarts", type=natural, default=0, metavar="N",
        help="start again after a signal, exit code 70 or 79; N times, and N times again after "
        "each new checkpoint (default 0: a person is watching)")  # fmt: skip
    add("--dry-run", action="store_true", help="print the torchrun command and do nothing")
    several = parser.add_argument_group("several machines, the same command on each")
    add = several.add_argument
    add("--nnodes", type=positive, default=environ.get("PET_NNODES", "1"), metavar="N")
    add("--node-rank", type=natural, default=environ.get("PET_NODE_RANK"), metavar="N",
        help="of this machine; 0 is the one that --rdzv-endpoint names")  # fmt: skip
    add("--rdzv-backend", choices=["c10d", "static"], default=environ.get("PET_RDZV_BACKEND"))
    add("--rdzv-endpoint", default=environ.get("PET_RDZV_ENDPOINT"), metavar="HOST:PORT")
    add("--rdzv-id", default=environ.get("PET_RDZV_ID", "graphmtl"), metavar="NAME")
    add("--local-addr", default=environ.get("PET_LOCAL_ADDR"), metavar="ADDRESS")
    return parser


def _place(backend: str, node_rank: int | None) -> list[str]:
    """Say who this machine is: with c10d, whether it hosts the store that all meet at.

    torchrun would ask the DNS for that, and a pod's name may resolve seconds after its start.
    """
    if node_rank is None:
        return []
    if backend == "static":
        return [f"--node-rank={node_rank}"]
    return [f"--rdzv-conf=is_host={str(node_rank == 0).lower()}"]


def _nproc(wanted: int | None) -> int:
    """Return the number of processes; more than one for a GPU is refused."""
    import torch

    gpus = torch.cuda.device_count()
    if wanted and gpus and wanted > gpus:
        raise ConfigError(
            f"--nproc {wanted}: this machine has {gpus} GPUs, and each takes one process "
            "(CUDA_VISIBLE_DEVICES= trains on the CPU)"
        )
    return wanted or gpus or 1


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while there are no workers yet
    sys.exit(with_init(lambda: exit_code(partial(main, sys.argv[1:]))))
