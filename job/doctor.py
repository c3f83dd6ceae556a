"""Everything that would go wrong with a job later, found now, in one report; nothing is left."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from job.arguments import Parser, positive
from job.predict import check_options
from job.runtime import run_command
from mtl.errors import ConfigError

if TYPE_CHECKING:
    from job.doctor_findings import Finding
    from job.doctor_job import Job

USAGE = """
usage: python job/doctor.py [CONFIG.yaml] [options] [json=FILE] [key.path=value ...]

Look at everything that a training needs, and say at once all that is wrong or doubtful: the
configuration, packages, this machine, its GPUs and network, the graph, the labels of each task,
one batch forward and backward, memory and disks, the run directory, MLflow. It reads the whole
graph, needs the memory of one process, and leaves nothing behind.

  --nproc N         processes that the job shall have here; default: one for each GPU, or one
  --no-step         build all, but compute no batch
  json=FILE         writes the findings for scripts
  key.path=value    changes the configuration, as in training

Exit codes: 0 nothing but OK and warnings; else the first of 64 configuration, 65 data, 73 cannot
write, that a problem has; then 76, 77, 78, as the job would end, or 70, a check that broke.
"""
JSON = "json="


def main(argv: list[str]) -> None:
    """Examine, print, write; end with the exit code of what was found."""
    usage = USAGE.strip().partition("\n")[0].removeprefix("usage: ")
    parser = Parser(usage=usage, add_help=False, allow_abbrev=False)
    parser.add_argument("--nproc", type=positive)
    parser.add_argument("--no-step", action="store_true")
    parser.add_argument("words", nargs="*")
    args = parser.parse_intermixed_args(argv)
    words = [word for word in args.words if not word.startswith(JSON)]
    files = [word.removeprefix(JSON) for word in args.words if word.startswith(JSON)]
    check_options([word for word in words if "=" in word], ["json"])
    if len(files) > 1:
        raise ConfigError(f"json: expected one file, found {', '.join(files)}")

    from rich.console import Console

    from job.doctor_findings import exit_code
    from job.doctor_table import show

    findings = examine(words, args.nproc, steps=not args.no_step)
    show(findings, Console())
    if files:
        report = {"exit_code": exit_code(findings), "findings": [asdict(f) for f in findings]}
        Path(files[0]).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.exit(exit_code(findings))


def examine(argv: list[str], nproc: int | None = None, *, steps: bool = True) -> list["Finding"]:
    """Return all findings of a job.

    Args:
        argv: `[CONFIG.yaml] [key.path=value ...]`.
        nproc: processes on this machine; default: one for each GPU, or one.
        steps: whether to compute a batch.
    """
    from job.doctor_job import Job

    with tempfile.TemporaryDirectory(prefix="graphmtl-doctor-") as folder:
        job = Job(nproc or _default_nproc(), Path(folder), steps)
        job.read(argv)
        return list(_findings(job))


def _findings(job: "Job") -> Iterator["Finding"]:
    """Examine each subject: what is made by one is looked at by those after it."""
    from job import doctor_findings
    from job.doctor_configuration import CONFIGURATION
    from job.doctor_gpu import GPUS
    from job.doctor_graph import GRAPH
    from job.doctor_machine import MACHINE
    from job.doctor_mlflow import MLFLOW
    from job.doctor_network import NETWORK
    from job.doctor_packages import PACKAGES
    from job.doctor_places import PLACES
    from job.doctor_run import RUN
    from job.doctor_sizes import SIZES
    from job.doctor_tasks import TASKS
    from job.doctor_training import STEP, TRAINING
    from job.doctor_weights import WEIGHTS

    subjects: dict[str, Sequence[doctor_findings.Check]] = {
        "configuration": CONFIGURATION,
        "packages": PACKAGES,
        "machine": MACHINE,
        "GPUs": GPUS,
        "network": NETWORK,
        "graph": GRAPH,
        "tasks": TASKS,
        "training": (*WEIGHTS, *TRAINING),
        "sizes": SIZES,
        "one step": STEP,
        "places": PLACES,
        "run directory": RUN,
        "MLflow": MLFLOW,
    }
    for subject, checks in subjects.items():
        for check in checks:
            yield from doctor_findings.examine(subject, check, job)


def _default_nproc() -> int:
    import torch

    return max(1, torch.cuda.device_count() if torch.cuda.is_available() else 0)


if __name__ == "__main__":
    run_command(main, USAGE)
