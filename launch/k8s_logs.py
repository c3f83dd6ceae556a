"""launch: the logs of all pods of a run as one: by time, each line behind its node's number."""

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from launch.k8s_api import Api
from launch.k8s_common import RUN
from launch.k8s_errors import NotThereError, UnreachableError
from launch.k8s_status import ENDED, find, node_of, state
from launch.pod import BRINGER, TRAINER, Manifest
from mtl.errors import ConfigError, UserError

RETRY_SECONDS = 5
Source = tuple[str, str, str]  # node, pod, container


def merged(api: Api, name: str, tail: int | None) -> Iterator[str]:
    """Yield what all containers of a run have printed, in the order of time."""
    find(api, name)
    streams = [_stamped(api, source, tail) for source in _sources(api, name)]
    for _, node, text in heapq.merge(*streams):
        yield f"[node {node}] {text}"


def follow(
    api: Api, name: str, tail: int | None, say: Callable[[str], None], pause_seconds: float = 2.0
) -> None:
    """Say each line as it comes, of pods that come later, too, until the run has ended."""
    threads: dict[Source, threading.Thread] = {}
    while True:
        try:
            over = state(find(api, name)) in ENDED.values()
        except NotThereError:
            if not threads:
                raise
            over = True
        for source in _sources(api, name):
            if source not in threads:
                thread = threading.Thread(
                    target=_relay, args=(api, source, tail, say), daemon=True
                )  # fmt: skip
                threads[source] = thread
                thread.start()
        if over:
            for thread in threads.values():
                thread.join()
            return
        time.sleep(pause_seconds)


def _relay(api: Api, source: Source, tail: int | None, say: Callable[[str], None]) -> None:
    node, pod, container = source
    since = ""
    while True:
        try:
            for stamp, _, text in _stamped(api, source, tail, follow=True):
                if stamp > since:  # asked again, the server begins at the beginning
                    say(f"[node {node}] {text}")
                    since = stamp
            return
        except UnreachableError:  # a connection that nothing came through for long
            tail = None
            time.sleep(RETRY_SECONDS)
        except UserError as error:
            say(f"[node {node}] the log of {pod} ({container}) broke off: {error}")
            return


def _stamped(
    api: Api, source: Source, tail: int | None, *, follow: bool = False
) -> Iterable[tuple[str, str, str]]:
    """Yield (time, node, text) of each line of a container."""
    node, pod, container = source
    try:
        for line in api.log(pod, container, follow=follow, tail=tail):
            stamp, _, text = line.partition(" ")
            yield stamp, node, text
    except ConfigError:
        return  # it has gone, or has not begun


def _sources(api: Api, name: str) -> list[Source]:
    """Return the containers of a run that have begun."""
    found = []
    for pod in api.list("Pod", label_selector=RUN.format(name)):
        status = pod.get("status", {})
        containers = [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
        found += [
            (node_of(pod), pod["metadata"]["name"], container["name"])
            for container in containers
            if container["name"] in (BRINGER, *TRAINER.values()) and _began(container)
        ]
    return found


def _began(container: Manifest) -> bool:
    return bool({"running", "terminated"} & container.get("state", {}).keys())
