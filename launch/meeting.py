"""launch: where the machines of one job meet, and where one of them says that it gives up.

torchrun's store ends with each start. The first machine keeps it from start to start, so that a
launcher that will not start again can tell the others: they end, too, and do not wait for it.
"""

import json
import signal
import socket
import threading
import time
from argparse import Namespace
from contextlib import suppress
from typing import Any, NamedTuple

from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousParameters
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

from launch.output import say
from mtl.errors import ConfigError

KEY = "graphmtl/gave_up"
PORT = 29400
MEET_SECONDS = 900  # machines of one job may start as far apart as images take to arrive
LOOK_SECONDS = 1.0
GRACE_SECONDS = 3.0  # for workers that end by themselves, with words of their own
LINGER_SECONDS = 3.0  # of the first machine: the others look once a second
ANSWER_SECONDS = 10
GONE = (RendezvousError, RuntimeError, OSError)
"""What is raised where the first machine is not there yet, or no more."""


class NotMetError(Exception):
    """A machine of the job was waited for, and did not come."""


class Ending(NamedTuple):
    """How the launcher of a machine ends for good."""

    code: int
    host: str
    time: float


class Meeting:
    """What the machines of one job tell each other, beside torchrun.

    Args:
        endpoint: host and port of the first one; None where there is no other, or no second start.
        is_first: whether that is this one.
    """

    def __init__(self, endpoint: tuple[str, int] | None, *, is_first: bool) -> None:
        self._endpoint, self.is_first = endpoint, is_first
        self.ending: Ending | None = None
        """How another machine gave up."""
        self._store: Any = None
        self._over = threading.Event()
        self._main = threading.get_ident()

    @classmethod
    def of(cls, torchrun: Namespace) -> "Meeting":
        """Read torchrun's arguments, as launch/local.py writes them."""
        if torchrun.nnodes == "1" or torchrun.rdzv_backend == "static":
            return cls(None, is_first=True)
        endpoint = parse_rendezvous_endpoint(torchrun.rdzv_endpoint, default_port=PORT)
        return cls(endpoint, is_first="is_host=true" in torchrun.rdzv_conf)

    def __enter__(self) -> "Meeting":
        if self._endpoint is not None:
            if self.is_first:
                self._store = self._keep(self._endpoint[1])
            old = self._news()  # said to the machine that this one replaces
            threading.Thread(target=self._listen, args=[old], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def wait_for_first(self) -> None:
        """Wait until the first machine answers. torch would wait, too, but hear no signal then.

        Raises:
            NotMetError: it does not.
        """
        deadline, said = time.monotonic() + MEET_SECONDS, False
        while (error := self._silence()) is not None:
            if time.monotonic() > deadline:
                raise NotMetError(f"the first machine does not answer: {error}")
            if not said:
                say(f"waiting for the first machine ({error})")
            said = True
            time.sleep(LOOK_SECONDS)

    def give_up(self, code: int) -> None:
        """Tell the others that this machine does not start again, and how it ends."""
        if self._endpoint is None:
            return
        news = json.dumps(Ending(code, socket.gethostname(), time.time()))
        with suppress(*GONE):
            (self._store or self._connect()).set(KEY, news)
        if self.is_first:
            time.sleep(LINGER_SECONDS)

    def _listen(self, old: bytes) -> None:
        """Wait until another machine gives up, and end what this one does then."""
        while (news := self._news()) in (b"", old):
            if self._over.wait(LOOK_SECONDS):
                return
        self.ending = Ending(*json.loads(news))
        if not self._over.wait(GRACE_SECONDS):
            signal.pthread_kill(self._main, signal.SIGTERM)

    def _news(self) -> bytes:
        """Return what the last machine to give up has said; nothing where none has."""
        try:
            self._store = self._store or self._connect()
            return self._store.get(KEY) if self._store.check([KEY]) else b""
        except GONE:
            self._store = self._store if self.is_first else None
            return b""

    def _keep(self, port: int) -> Any:
        """Open the store; torchrun's is the same one, as both are of this process."""
        try:
            return _store("127.0.0.1", port, is_host=True)
        except RendezvousError as error:
            raise ConfigError(
                f"--rdzv-endpoint: port {port} cannot be opened: {error.__cause__}"
            ) from error

    def _connect(self) -> Any:
        assert self._endpoint is not None
        if (error := self._silence()) is not None:  # torch would say so again and again
            raise error
        return _store(*self._endpoint, is_host=False)

    def _silence(self) -> OSError | None:
        """Return why the first machine does not answer, where it does not."""
        if self.is_first or self._endpoint is None:
            return None
        try:
            socket.create_connection(self._endpoint, timeout=ANSWER_SECONDS).close()
        except OSError as error:
            return error
        return None


def _store(host: str, port: int, *, is_host: bool) -> Any:
    """Open a store, or connect to it, as torchrun does."""
    options = {"is_host": is_host, "read_timeout": ANSWER_SECONDS}
    parameters = RendezvousParameters("c10d", f"{host}:{port}", "launch", 1, 1, None, **options)
    return create_backend(parameters)[1]
