"""launch: the job on N machines of a Kubernetes cluster."""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

from job.arguments import Parser, exit_code, natural
from job.config import assign, tree_at
from launch.cluster import Cluster, read_cluster
from launch.k8s_api import Api
from launch.k8s_request import read_request

EXIT_CODES = (
    "Exit codes: 0 done, 64 wrong configuration, refused by the server or nothing of that name, 69 "
    "the API server does not answer, 75 quota used up, 77 not allowed, 78 name taken."
)


def main(argv: list[str]) -> int:
    """Run one of the commands."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    for word in rest:  # argparse takes no more positional arguments after an option
        if word.startswith("-") or "=" not in word or options.command == "list":
            parser.error(f"unrecognized argument: {word}")
        options.overrides.append(word)
    commands = {
        "render": _render, "submit": _submit, "status": _status, "logs": _logs,
        "cancel": _cancel, "list": _list,
    }  # fmt: skip
    try:
        commands[options.command](options)
    except KeyboardInterrupt:  # of who watches; the run goes on
        return 130
    return 0


def _render(options: Namespace) -> None:
    print(read_request(options.config, options.overrides).yaml(), end="")


def _submit(options: Namespace) -> None:
    from launch.k8s_submit import check, submit

    request = read_request(options.config, options.overrides)
    api = Api(request.cluster.namespace, options.context)
    if options.dry_run:
        check(api, request)
        print(request.yaml(), end="")
        return
    owner = submit(api, request)
    name = owner["metadata"]["name"]
    print(
        f"{owner['kind']} {name} is in namespace {api.namespace}: status | logs -f | cancel {name}"
    )


def _status(options: Namespace) -> None:
    from launch.k8s_metrics import show_metrics
    from launch.k8s_status import find, show

    name, api = _run(options)
    for line in show(api, name):
        print(line)
    for line in show_metrics(find(api, name), options.mlflow_uri):
        print(line)


def _logs(options: Namespace) -> None:
    from launch.k8s_logs import follow, merged

    name, api = _run(options)
    say = partial(print, flush=True)
    if options.follow:
        follow(api, name, options.tail, say)
    else:
        for line in merged(api, name, options.tail):
            say(line)


def _cancel(options: Namespace) -> None:
    from launch.k8s_submit import cancel

    name, api = _run(options)
    cancel(api, name, partial(print, flush=True))


def _list(options: Namespace) -> None:
    from launch.k8s_status import list_runs

    for line in list_runs(Api(options.namespace or Cluster.namespace, options.context)):
        print(line)


def _run(options: Namespace) -> tuple[str, Api]:
    """Return name and namespace that a configuration, or the command line, gives."""
    name, namespace = options.run, Cluster.namespace
    if options.run.endswith((".yaml", ".yml")):
        tree = tree_at(Path(options.run))
        for assignment in options.overrides:
            assign(tree, assignment)
        cluster = read_cluster(tree.get("cluster"))
        name, namespace = cluster.name, cluster.namespace
    return name, Api(options.namespace or namespace, options.context)


def _parser() -> Parser:
    parser = Parser(
        prog="python launch/k8s.py",
        description="Run the job on Kubernetes.",
        epilog=EXIT_CODES,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, *, remote: bool = True) -> Parser:
        made: Parser = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        if remote:
            made.add_argument("--context", metavar="NAME", help="of the kubeconfig file")
        return made

    for name, text in (
        ("render", "print the objects of a run as YAML; needs no cluster"),
        ("submit", "check a run here and on the server, then start it"),
    ):
        made = command(name, text, remote=name == "submit")
        made.add_argument("config", metavar="CONFIG.yaml", help="its `cluster:` section is read")
        made.add_argument("overrides", nargs="*", metavar="key=value", help="as for job/train.py")
    made.add_argument("--dry-run", action="store_true", help="check, print the YAML, make nothing")
    for name, text in (
        ("status", "state, pods, why they ended, what they wait for, the last metrics"),
        ("logs", "what all pods print, by time, each line behind its node"),
        ("cancel", "stop a run: it saves, and `submit` goes on from there"),
    ):
        made = command(name, text)
        made.add_argument("run", metavar="NAME|CONFIG.yaml")
        made.add_argument("overrides", nargs="*", metavar="key=value", help="of CONFIG.yaml")
        _add_namespace(made)
        if name == "status":
            made.add_argument("--mlflow-uri", metavar="URI", help="as it is reached from here")
        if name == "logs":
            made.add_argument("-f", "--follow", action="store_true", help="until the run ends")
            made.add_argument("--tail", type=natural, metavar="N", help="last lines of each pod")
    _add_namespace(command("list", "the runs of a namespace"))
    return parser


def _add_namespace(parser: Parser) -> None:
    parser.add_argument(
        "-n", "--namespace", help=f"default: the configuration's, or {Cluster.namespace}"
    )


if __name__ == "__main__":
    sys.exit(exit_code(partial(main, sys.argv[1:])))
