"""doctor: what a check finds, how bad it is, what to do, and the exit code of all of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from job.doctor_job import Job, UnknownError
from job.redaction import without_secrets
from job.runtime import CANNOT_WRITE, CannotWriteError
from mtl.errors import ConfigError, DataError, UserError

Level = Literal["ok", "unknown", "warning", "problem"]
BUG = UserError.exit_code
ORDER = (ConfigError.exit_code, DataError.exit_code, CannotWriteError.exit_code)
"""Which exit code counts where problems have several; others come after these."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        found: there, in a sentence.
        level: ok, unknown (it could not be looked at), warning or problem (the job would not run,
            or be worth nothing).
        advice: what to do.
        code: of a problem, the exit code that the job itself would end with.
        what: was looked at; default: the name of the check.
        subject: which checks it belongs to.
    """

    found: str
    level: Level = "ok"
    advice: str = ""
    code: int = 0
    what: str = ""
    subject: str = ""


Check = Callable[[Job], Iterable[Finding]]


def warning(found: str, advice: str, what: str = "") -> Finding:
    """Return what the job survives, but people should know."""
    return Finding(found, "warning", advice, what=what)


def problem(found: str, advice: str, error: type[UserError], what: str = "") -> Finding:
    """Return what the job would end with, or could not learn from."""
    return Finding(found, "problem", advice, error.exit_code, what)


def examine(subject: str, check: Check, job: Job) -> Iterator[Finding]:
    """Yield what a check finds, without secrets; what breaks in it is a finding, too."""
    for finding in _caught(check, job):
        what = finding.what or check.__name__.replace("_", " ")
        found, advice = without_secrets(finding.found), without_secrets(finding.advice)
        yield replace(finding, subject=subject, what=what, found=found, advice=advice)


def _caught(check: Check, job: Job) -> Iterator[Finding]:
    try:
        yield from check(job)
    except UnknownError as error:
        yield Finding(f"not looked at: {error}", "unknown")
    except UserError as error:
        yield problem(str(error), "", type(error))
    except Exception as error:  # whatever breaks here, all other checks come
        denied = isinstance(error, OSError) and error.errno in CANNOT_WRITE
        advice = "make room, or choose another place" if denied else "please report it"
        code = CannotWriteError.exit_code if denied else BUG
        found = f"this check broke: {type(error).__name__}: {error}"
        yield Finding(found, "problem", advice, code)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 without a problem, else the first code in `ORDER` that there is."""
    codes = {finding.code for finding in findings if finding.level == "problem"}
    return next((code for code in (*ORDER, *sorted(codes)) if code in codes), 0)
