"""launch: the job on N machines of a Slurm cluster: a script for sbatch."""

import shlex
import sys
from collections.abc import Iterator
from functools import partial

from job.arguments import Parser, exit_code
from job.config import load
from launch.cluster import Cluster, read_cluster
from launch.slurm_options import Slurm

GRACE_SECONDS = 120  # launch/local.py gives the workers 90 of them to save

MEET = r"""
# All machines meet at the first one, at a port of this job's own.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
"""

END = r"""
# Slurm tells this shell alone that time is up or that others take the machines; the launchers let
# the workers save. (srun would kill them 30 s after a signal of its own.)
trap 'scancel --signal=TERM "$SLURM_JOB_ID"' TERM
wait "$step"; code=$?
while kill -0 "$step" 2>/dev/null; do wait "$step"; code=$?; done  # the trap ended the wait

# 75: stopped and saved; 143: stopped before there was anything to save. A job that scancel ends is
# not running any more, and stays ended.
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
if [[ $code == 75 || $code == 143 ]] && [[ $state == RUNNING ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def main(argv: list[str]) -> int:
    """Print the script."""
    parser = Parser(
        prog="python launch/slurm.py",
        description="Print a script: python launch/slurm.py my.yaml > my.sbatch; sbatch my.sbatch",
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="its `cluster:` section is read")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for job/train.py")
    options = parser.parse_args(argv)
    print(render(options.config, options.overrides), end="")
    return 0


def render(config: str, overrides: list[str]) -> str:
    """Return the script.

    Raises:
        ConfigError: the configuration is wrong, or has no `cluster:` section.
    """
    section = load([config, *overrides]).cluster
    # no image: on Slurm the job runs from the checkout, which all machines see
    cluster = read_cluster(section if section is None else {"image": "none", **section})
    slurm = cluster.slurm or Slurm()
    command = shlex.join(["python", "launch/slurm.py", config, *overrides])
    lines = ["#!/bin/bash", f"# {command}"]
    lines += [f"#SBATCH {option}" for option in _options(cluster, slurm)]
    lines += ["", *slurm.setup]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in _environment(cluster)]
    return "\n".join(lines) + "\n" + MEET + _start(cluster, config, overrides) + END


def _options(cluster: Cluster, slurm: Slurm) -> Iterator[str]:
    yield f"--job-name={cluster.name}"
    yield f"--nodes={cluster.nodes}"
    yield "--ntasks-per-node=1"
    yield f"--cpus-per-task={cluster.cpus}"
    yield f"--mem={cluster.memory.removesuffix('i')}"
    if cluster.gpus_per_node:
        yield f"--gpus-per-node={cluster.gpus_per_node}"
    for name in ("partition", "account", "time"):
        if (value := getattr(slurm, name)) is not None:
            yield f"--{name}={value}"
    yield "--output=%x-%j.log"
    yield "--open-mode=append"
    yield "--requeue"
    yield f"--signal=B:TERM@{GRACE_SECONDS}"
    yield from slurm.options


def _environment(cluster: Cluster) -> Iterator[tuple[str, str]]:
    yield "OMP_NUM_THREADS", str(max(1, cluster.cpus // cluster.nproc_per_node))
    yield "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1"  # or a launcher that is lost cannot come back
    yield from cluster.env.items()


def _start(cluster: Cluster, config: str, overrides: list[str]) -> str:
    """Write the command that starts one launcher on each machine.

    The first one to end must not end the others: they may be saving.
    """
    job = shlex.join([config, *overrides])
    return rf"""
# shellcheck disable=SC2016  # each machine fills in its own number
srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task={cluster.cpus} \
  bash -c 'exec python -m launch.local --node-rank="$SLURM_NODEID" "$@"' launch \
  --nproc={cluster.nproc_per_node} --nnodes="$SLURM_JOB_NUM_NODES" \
  --max-restarts={cluster.restarts} \
  --rdzv-backend=c10d --rdzv-endpoint="$first:$port" --rdzv-id="$SLURM_JOB_ID" \
  {job} &
step=$!
"""


if __name__ == "__main__":
    sys.exit(exit_code(partial(main, sys.argv[1:])))
