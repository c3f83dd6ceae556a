"""launch: what a cluster's API server refuses, in words that say what to do, with an exit code."""

import json
import re
from typing import ClassVar

from mtl.errors import ConfigError, UserError


class UnreachableError(UserError):
    """The API server does not answer, or has trouble of its own: try again later."""

    exit_code: ClassVar[int] = 69


class QuotaError(UserError):
    """The namespace's quota is used up: the same command works when something else ends."""

    exit_code: ClassVar[int] = 75


class ForbiddenError(UserError):
    """The server does not know who asks, or does not let them."""

    exit_code: ClassVar[int] = 77


class TakenError(UserError):
    """The name belongs to another run."""

    exit_code: ClassVar[int] = 78


class NotThereError(ConfigError):
    """There is no such run, namespace or kind of object."""


def explain(status: int, body: str | bytes, where: str, kind: str) -> UserError:
    """Return the error of an answer.

    Args:
        status: of HTTP; 0 where TLS failed.
        body: what the server says.
        where: what was asked for.
        kind: of the object.
    """
    said = message_of(body)
    if status == 401:
        return ForbiddenError(
            f"{where}: the cluster does not know you (401 {said}); log in again, or choose another "
            "context (kubectl config get-contexts)"
        )
    if status == 403 and "exceeded quota" in said:
        return QuotaError(f"{where}: {said}; wait until another run ends, or ask for less")
    if status == 403:
        return ForbiddenError(f"{where}: {said or 'forbidden'} (403); {_remedy(said)}")
    if status == 404:
        return NotThereError(f"{where}: {said} (404)" + _missing(said, kind))
    if status == 409:
        return TakenError(
            f"{where}: {said} (409); see `status`, `cancel` it, or take another cluster.name"
        )
    if status in (400, 413, 422):
        return ConfigError(f"{where}: the server refuses it: {said} ({status})")
    return UnreachableError(f"{where}: the server answers {status}: {said}; try again later")


def message_of(body: str | bytes) -> str:
    """Return the message of a Status, or the text that a proxy sent in its place."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        status = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:300]
    return str(status.get("message") or status) if isinstance(status, dict) else str(status)


def _remedy(said: str) -> str:
    if "violates PodSecurity" in said:
        return "the namespace's Pod Security level forbids it (host_path needs `privileged`)"
    if "PriorityClass" in said:
        return "see cluster.priority_class and kubectl get priorityclasses"
    if re.search(r"service ?account", said) and "not found" in said:
        return "see cluster.service_account; `kubectl apply -k k8s/base` makes the default one"
    return "the role `graphmtl-submitter` of k8s/base has what is needed; ask for a binding to it"


def _missing(said: str, kind: str) -> str:
    if "namespaces" in said:
        return "; make it first: kubectl apply -k k8s/base, or name another in cluster.namespace"
    if kind in ("TrainJob", "TrainingRuntime") and "page not found" in said:
        return "; Kubeflow Trainer 2 is not installed there: take cluster.backend=job"
    return ""
