"""doctor: the configuration: every mistake in it, and what it leaves to the number of processes."""

from collections.abc import Iterator

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import Job
from mtl.errors import ConfigError


def options(job: Job) -> Iterator[Finding]:
    """Whether all of it can be read."""
    for mistake in job.mistakes:
        yield problem(mistake, "", ConfigError)
    if not job.mistakes:
        yield Finding("every key and every value is allowed")
    if job.config is not None and job.config.loader.global_batch_size is None:
        yield warning(
            f"loader.global_batch_size is not set: {job.nproc} processes make it "
            f"{job.nproc * job.config.loader.batch_size:,}, and others another number",
            "set it, and any number of processes gives the same numbers",
        )


CONFIGURATION = (options,)
