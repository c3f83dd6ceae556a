"""doctor: the run directory: who uses it, what it holds, and whether this job may go on with it."""

import json
from collections.abc import Iterator
from pathlib import Path

from job.checkpoint_files import folders, read_manifest, verify
from job.config import JobConfig
from job.doctor_findings import Finding, problem, warning
from job.doctor_job import WRONG, Job, known
from job.lock import RunInUseError, owner
from job.rundir import CONFIG, MAY_CHANGE, changes, is_finished, resolve
from job.runtime import StoppedError
from mtl.errors import ConfigError, DataError

OWN_DIR = "run.dir=... or run.name=... for a run of its own"


def lock(job: Job) -> Iterator[Finding]:
    """Whether another job has it."""
    name = owner(job.run.dir)
    if name is None:
        yield Finding("nobody has it")
    else:
        advice = f"wait for it, or {OWN_DIR}"
        yield problem(f"{job.run.dir} is in use by {name}", advice, RunInUseError)


def state(job: Job) -> Iterator[Finding]:
    """What became of the run so far."""
    folder = job.run.dir
    if not (folder / CONFIG).is_file():
        yield Finding(f"{folder} is a new run")
    elif is_finished(folder):
        yield Finding(f"{folder} is finished; raise train.epochs to go on, or {OWN_DIR}")
    else:
        yield from _last_end(folder)


def configuration(job: Job) -> Iterator[Finding]:
    """Whether it is the one that the run began with."""
    config = known(job.config, WRONG)
    if not folders(config.run.dir / "checkpoints"):
        yield Finding("nothing to go on from")
        return
    different = changes(resolve(config, job.nproc), MAY_CHANGE)
    for line in different:
        yield problem(
            f"{config.run.dir}: {line.strip()}",
            f"the value that it has there, or {OWN_DIR}",
            ConfigError,
        )
    if not different:
        yield Finding("as in the run, but for what may change")


def checkpoints(job: Job) -> Iterator[Finding]:
    """Whether each checkpoint is whole, and of this graph."""
    found = folders(job.run.dir / "checkpoints")
    faults = {folder: verify(folder) for folder in found}
    whole = [folder for folder, fault in faults.items() if fault is None]
    strict = isinstance(job.config, JobConfig) and job.config.checkpoint.strict
    for folder, fault in faults.items():
        words = f"{folder} is damaged: {fault}"
        if fault is None:
            continue
        if folder == found[-1] and strict:
            advice = "delete it, or checkpoint.strict=false goes on from the one before"
            yield problem(words, advice, DataError)
        elif whole:
            yield warning(words, f"delete it; {whole[-1].name} is whole")
        else:
            yield problem(words, f"no whole one is left: {OWN_DIR}, or delete it", DataError)
    if whole:
        yield _of_graph(whole[-1], job)
    elif not found:
        yield Finding("none yet")


def _of_graph(folder: Path, job: Job) -> Finding:
    """Say whether the newest one was trained on the graph of this job."""
    trained_on = read_manifest(folder)["graph"]
    if job.store is not None and job.store.fingerprint != trained_on:
        return problem(
            f"{folder} was trained on another graph ({trained_on[:12]}, this one is "
            f"{job.store.fingerprint[:12]})",
            f"that graph, or {OWN_DIR}",
            ConfigError,
        )
    return Finding(f"the training goes on from {folder.name}, which is whole")


def _last_end(folder: Path) -> Iterator[Finding]:
    try:
        ending = json.loads((folder / "exit.json").read_text(encoding="utf-8"))
        code, cause = int(ending["code"]), str(ending["cause"])
    except (OSError, ValueError, KeyError, TypeError):
        yield Finding(f"{folder} was begun, and says no more")
        return
    words = f"{folder} ended with {code}: {cause.splitlines()[0] if cause else 'no reason'}"
    if code in (0, StoppedError.exit_code):
        yield Finding(words)
    else:
        yield warning(words, "what ended it may end it again")


RUN = (lock, state, configuration, checkpoints)
