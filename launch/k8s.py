"""launch: the job on N machines of a Kubernetes cluster."""

import re
import shlex
import sys
from functools import partial
from pathlib import Path

import yaml

from job.arguments import Parser, exit_code
from job.config import JobConfig, load
from launch.cluster import Cluster, read_cluster
from launch.manifests import manifests
from launch.pod import FOLDER, SECRET, Manifest
from mtl.errors import ConfigError


def main(argv: list[str]) -> int:
    """Run one of the commands."""
    parser = Parser(prog="python launch/k8s.py", description="Run the job on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("render", help="print the objects of a run as YAML")
    command.add_argument("config", metavar="CONFIG.yaml", help="its `cluster:` section is read")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="as for job/train.py")
    options = parser.parse_args(argv)
    print(render(options.config, options.overrides), end="")
    return 0


def render(config: str, overrides: list[str]) -> str:
    """Return the YAML that `kubectl apply -f -` takes.

    Raises:
        ConfigError: the configuration is wrong, has no `cluster:` section, holds a password, or
            writes where a pod cannot.
    """
    job = load([config, *overrides])
    cluster = read_cluster(job.cluster)
    _check_paths(job, cluster)
    text = Path(config).read_text(encoding="utf-8")
    _refuse_passwords(config, [*text.splitlines(), *overrides])
    header = _comment(f"python launch/k8s.py render {shlex.join([config, *overrides])}")
    return header + "".join(_document(*item) for item in manifests(cluster, text, overrides))


def _check_paths(job: JobConfig, cluster: Cluster) -> None:
    if job.run.dir.is_absolute() and not job.run.dir.is_relative_to(FOLDER):
        raise ConfigError(
            f"run.dir: {job.run.dir} is not on the claim; give a relative path, or one in {FOLDER}"
        )
    if cluster.claim and job.track.mlflow and job.track.mlflow.uri.startswith("sqlite"):
        raise ConfigError(
            f"track.mlflow.uri: {job.track.mlflow.uri} would lie on a volume that machines share, "
            "where SQLite breaks; give a server (http://HOST:PORT), or track.mlflow=null and send "
            "the metrics later (python -m job.track RUN_DIR)"
        )


def _refuse_passwords(config: str, lines: list[str]) -> None:
    for line in lines:
        secret = re.search(r"(\w+://[^/\s]*):[^/\s]*@", line)
        if secret:
            raise ConfigError(
                f"{config}: the password after {secret[1]!r} would stand in a ConfigMap for all to "
                f"read; put it into the secret {SECRET}, whose entries are environment variables"
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


if __name__ == "__main__":
    sys.exit(exit_code(partial(main, sys.argv[1:])))
