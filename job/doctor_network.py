"""doctor: what processes of this machine need to meet: the loopback, its name, a port."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from job.doctor_findings import Finding, problem, warning
from job.doctor_job import Job
from mtl.errors import ConfigError

LOOPBACK, PORT = "127.0.0.1", 29500
"""Where torchrun's processes meet by default."""
NAME_SECONDS = 5.0
T = TypeVar("T")


def loopback(job: Job) -> Iterator[Finding]:
    """Whether processes of this machine can talk to each other."""
    try:
        with socket.create_server((LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection((LOOPBACK, port), NAME_SECONDS), server.accept()[0]:
                yield Finding(f"{LOOPBACK} takes and makes connections")
    except OSError as error:
        advice = "bring the interface `lo` up, and let the firewall pass it"
        yield problem(f"{LOOPBACK}: {error}", advice, ConfigError)


def host_name(job: Job) -> Iterator[Finding]:
    """Whether this machine finds its own name: torchrun waits for ever where it does not."""
    name = socket.gethostname()
    advice = (
        f"add `{LOOPBACK} {name}` to /etc/hosts; launch/local.py does not need it, and torchrun "
        f"--standalone works with --local-addr={LOOPBACK}"
    )
    try:
        addresses = within(NAME_SECONDS, lambda: socket.getaddrinfo(name, None))
    except OSError as error:  # a TimeoutError is one, too
        yield warning(f"{name} has no address ({error}); torchrun --standalone hangs", advice)
    else:
        found = dict.fromkeys(str(address[4][0]) for address in addresses)
        yield Finding(f"{name} is {', '.join(found)}")


def port(job: Job, number: int = PORT) -> Iterator[Finding]:
    """Whether torchrun's default port is free."""
    try:
        with socket.create_server(("", number)):
            yield Finding(f"{number}, torchrun's default, is free")
    except OSError as error:
        yield warning(
            f"{number}, torchrun's default: {error.strerror or error}",
            "launch/local.py and torchrun --standalone take a free one",
        )


def within(seconds: float, action: Callable[[], T]) -> T:
    """Return what an action returns, if it does so soon; what hangs is left behind.

    Raises:
        TimeoutError: it does not.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(action())
        except Exception as error:  # goes to who waits
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:g} s") from None


NETWORK = (loopback, host_name, port)
