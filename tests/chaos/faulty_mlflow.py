"""A real MLflow server whose answers go wrong on demand: its own application behind a switch.

usage: python faulty_mlflow.py FOLDER

Prints its port. Then reads faults from stdin, a line each, and prints, when each holds, how many
requests came since the line before:
`none`, `down` (the port is closed), `slow` (2 s an answer), `status NUMBER`, `html`, `torn` (half
of the JSON), `other` (JSON of another schema, nothing done), `lost` (all is done, no answer comes).
An empty line changes nothing.
Frozen is a server that got SIGSTOP: the kernel takes connections for it, and nobody answers.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1]).resolve()
os.environ |= {
    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{FOLDER / 'mlflow.db'}",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(FOLDER / "artifacts"),
    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}

from mlflow.server import app  # noqa: E402  (it reads the environment)
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server  # noqa: E402

SLOW_SECONDS = 2.0
STATUS = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 429: "TOO MANY REQUESTS", 500: "ERROR"}


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log(self, *_: Any) -> None:
        pass


class Switch:
    """MLflow's application, or the fault that was asked for."""

    def __init__(self) -> None:
        self.fault, self.num_requests = "none", 0

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.num_requests += 1
        name, _, number = self.fault.partition(" ")
        if name == "slow":
            time.sleep(SLOW_SECONDS)
        elif name == "status":
            # A client that obeys Retry-After sleeps for an hour.
            start(f"{number} {STATUS.get(int(number), 'NO')}", [("Retry-After", "3600")])
            return [b"<html>no</html>"]
        elif name == "html":
            start("200 OK", [("Content-Type", "text/html")])
            return [b"<html><body>Please log in</body></html>"]
        elif name == "other":
            start("200 OK", [("Content-Type", "application/json")])
            return [b'{"portal": {"id": 7}}']
        if name not in ("lost", "torn"):
            return app(environ, start)
        heads: list[Any] = []
        body = b"".join(app(environ, lambda *head: heads.append(head)))
        if name == "lost":
            environ["werkzeug.socket"].shutdown(2)
            return []
        start(heads[0][0], [("Content-Type", "application/json")])
        return [body[: len(body) // 2]]


def serve(switch: Switch, port: int) -> BaseWSGIServer:
    """Open the port and answer in threads."""
    server = make_server("127.0.0.1", port, switch, threaded=True, request_handler=Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    """Obey stdin until it ends."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (what is cut off on purpose is no news)
    switch = Switch()
    server: BaseWSGIServer | None = serve(switch, 0)
    port = server.server_port
    app.test_client().get("/api/2.0/mlflow/experiments/get?experiment_id=0")  # makes the tables
    print(port, flush=True)
    for line in sys.stdin:
        num_requests, switch.num_requests = switch.num_requests, 0
        switch.fault = line.strip() or switch.fault
        if switch.fault == "down" and server:
            server.shutdown()
            server.server_close()
            server = None
        elif switch.fault != "down" and server is None:
            server = serve(switch, port)
        print(num_requests, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
