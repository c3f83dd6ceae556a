"""launch: a configuration and its overrides, checked, as the objects of a run and as their YAML."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

from job.config import JobConfig, assign, read, tree_at
from job.redaction import holds_secret, without_secrets
from launch.cluster import Cluster, read_cluster
from launch.manifests import manifests
from launch.pod import FOLDER, SECRET, Manifest, injected
from mtl.errors import ConfigError

MAX_BYTES = 1_000_000  # of a ConfigMap; the API server takes 1 MiB, with all that is around it


@dataclass(frozen=True)
class Request:
    """A run that the cluster can be asked for."""

    cluster: Cluster
    objects: list[tuple[str, Manifest]]
    """Each with a comment; the one that owns the others is last."""
    command: list[str]
    """Configuration and overrides, as they were given."""

    def yaml(self) -> str:
        """Return the YAML that `kubectl apply -f -` takes."""
        header = _comment(f"python launch/k8s.py render {shlex.join(self.command)}")
        return header + "".join(_document(*item) for item in self.objects)


def read_request(config: str, overrides: list[str]) -> Request:
    """Check what a run would be given, and write its objects.

    Raises:
        ConfigError: the configuration is wrong, has no `cluster:` section, holds a password, or
            writes where a pod cannot.
    """
    tree, mistakes = tree_at(Path(config)), []
    for assignment in overrides:
        assign(tree, assignment)
    cluster, ours = None, []
    try:
        cluster = read_cluster(tree.get("cluster"))
        ours = injected(cluster)
    except ConfigError as error:
        mistakes.append(str(error))
    try:
        job = read(tree_at(Path(config)), [*ours, *overrides])
    except ConfigError as error:
        mistakes.append(str(error))
    if cluster is None or mistakes:
        raise ConfigError("\n".join(mistakes))
    _check_paths(job, cluster)
    text = Path(config).read_text(encoding="utf-8")
    _refuse_passwords(config, [*text.splitlines(), *ours, *overrides])
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError(f"{config}: more than {MAX_BYTES:,} bytes do not fit into a ConfigMap")
    objects = manifests(cluster, text, overrides, _notes(job))
    return Request(cluster, objects, [config, *overrides])


def _notes(job: JobConfig) -> dict[str, str]:
    """Return the annotations by which `status` finds the run in MLflow."""
    if job.track.mlflow is None:
        return {}
    return {
        "graphmtl/run": job.run.name,
        "graphmtl/mlflow-uri": job.track.mlflow.uri,
        "graphmtl/mlflow-experiment": job.track.mlflow.experiment,
    }


def _check_paths(job: JobConfig, cluster: Cluster) -> None:
    if job.run.dir.is_absolute() and not job.run.dir.is_relative_to(FOLDER):
        raise ConfigError(
            f"run.dir: {job.run.dir} is not on the claim; give a relative path, or one in {FOLDER}"
        )
    if cluster.claim and job.track.mlflow and job.track.mlflow.uri.startswith("sqlite"):
        raise ConfigError(
            f"track.mlflow.uri: {job.track.mlflow.uri} would lie on a volume that machines share, "
            "where SQLite breaks; give a server (cluster.mlflow_uri=http://HOST:PORT), or "
            "track.mlflow=null and send the metrics later (python -m job.track RUN_DIR)"
        )


def _refuse_passwords(config: str, lines: list[str]) -> None:
    for line in lines:
        if holds_secret(line):
            shown = without_secrets(line).strip()[:100]
            raise ConfigError(
                f"{config}: the password in {shown!r} would stand in a ConfigMap for all to read; "
                f"put it into the secret {SECRET}, whose entries are environment variables"
            )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines in a literal block, and the same mapping twice in full."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _document(comment: str, manifest: Manifest) -> str:
    body = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return f"---\n{_comment(comment)}{body}"


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())
