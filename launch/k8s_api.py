"""launch: a cluster's API server, through the official client, in plain mappings."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launch.k8s_errors import NotThereError, UnreachableError, explain
from launch.pod import Manifest
from mtl.errors import ConfigError

TIMEOUT_SECONDS = (5, 30)  # to connect, and between two bytes of an answer
SILENCE_SECONDS = (5, 3600)  # a training may print nothing for long
BUILT_IN = {
    "ConfigMap": ("CoreV1Api", "config_map"),
    "Event": ("CoreV1Api", "event"),
    "Job": ("BatchV1Api", "job"),
    "NetworkPolicy": ("NetworkingV1Api", "network_policy"),
    "Pod": ("CoreV1Api", "pod"),
    "Service": ("CoreV1Api", "service"),
}
TRAINER = {"group": "trainer.kubeflow.org", "version": "v1alpha1"}
CUSTOM = {"TrainingRuntime": "trainingruntimes", "TrainJob": "trainjobs"}


class Api:
    """One namespace of a cluster.

    Args:
        namespace: of all that is asked for.
        context: of the kubeconfig file; None takes the current one, or in a pod the pod's own.
    """

    def __init__(self, namespace: str, context: str | None = None) -> None:
        try:
            import kubernetes
        except ImportError:
            raise ConfigError(
                "the package `kubernetes` is missing, which talks to clusters: "
                'pip install -e ".[kubernetes]"; `render` needs no cluster and no package'
            ) from None
        self.namespace = namespace
        self._kubernetes = kubernetes
        configuration = kubernetes.client.Configuration()
        try:
            if context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
                kubernetes.config.load_incluster_config(client_configuration=configuration)
            else:
                kubernetes.config.load_kube_config(
                    context=context, client_configuration=configuration
                )
        except kubernetes.config.ConfigException as error:
            raise ConfigError(
                f"no cluster: {error} Name one in ~/.kube/config, $KUBECONFIG or --context."
            ) from None
        configuration.retries = False  # a person is waiting: say at once what is wrong
        configuration.client_side_validation = False
        self._client = kubernetes.client.ApiClient(configuration)

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create an object, or have the server check all that it would check."""
        more = {"dry_run": "All"} if dry_run else {}
        name = manifest["metadata"]["name"]
        made: Manifest = self._call("create", manifest["kind"], name, body=manifest, **more)
        return made

    def read(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None where there is none of that name or kind."""
        try:
            found: Manifest = self._call("read", kind, name, name=name)
        except NotThereError:
            return None
        return found

    def list(self, kind: str, **selectors: str) -> list[Manifest]:
        """Return the objects of a kind that match `label_selector` or `field_selector`."""
        found: list[Manifest] = self._call("list", kind, "", **selectors)["items"]
        return found

    def delete(self, kind: str, name: str) -> None:
        """Delete an object; one that owns pods goes after them, who have their grace period."""
        self._call("delete", kind, name, name=name, propagation_policy="Foreground")

    def adopt(self, manifest: Manifest, owner: Manifest) -> None:
        """Let an object go when its owner goes, which a time to live may bring about."""
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        name, body = manifest["metadata"]["name"], {"metadata": {"ownerReferences": [reference]}}
        self._call("patch", manifest["kind"], name, name=name, body=body)

    def log(self, pod: str, container: str, *, follow: bool, tail: int | None) -> Iterator[str]:
        """Yield the lines of a container, each with its time in front."""
        core = self._kubernetes.client.CoreV1Api(self._client)
        more = {} if tail is None else {"tail_lines": tail}
        with self._explained("read the log of", "Pod", pod):
            answer = core.read_namespaced_pod_log(
                pod, self.namespace, container=container, follow=follow, timestamps=True,
                _preload_content=False, _request_timeout=SILENCE_SECONDS, **more,
            )  # fmt: skip
            left = b""
            for piece in answer.stream(1 << 16):
                *lines, left = (left + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if left:
                yield left.decode(errors="replace")

    def _call(self, verb: str, kind: str, label: str, **arguments: Any) -> Any:
        client = self._kubernetes.client
        if kind in CUSTOM:
            verb_there = "get" if verb == "read" else verb
            api = client.CustomObjectsApi(self._client)
            method = getattr(api, f"{verb_there}_namespaced_custom_object")
            arguments |= {**TRAINER, "plural": CUSTOM[kind]}
        else:
            group, suffix = BUILT_IN[kind]
            method = getattr(getattr(client, group)(self._client), f"{verb}_namespaced_{suffix}")
        with self._explained(verb, kind, label):
            answer = method(namespace=self.namespace, _request_timeout=TIMEOUT_SECONDS, **arguments)
            answer = self._client.sanitize_for_serialization(answer)
        for item in answer.get("items", [answer]):
            item.setdefault("kind", kind)  # lists leave it out
        return answer

    @contextmanager
    def _explained(self, verb: str, kind: str, name: str) -> Iterator[None]:
        import urllib3

        where = f"{verb} {kind} {name}".rstrip() + f" in namespace {self.namespace}"
        try:
            yield
        except self._kubernetes.client.ApiException as error:
            raise explain(error.status, error.body or error.reason, where, kind) from None
        except urllib3.exceptions.HTTPError as error:
            host = self._client.configuration.host
            raise UnreachableError(
                f"{where}: {host} does not answer ({type(error).__name__}): is the cluster up, "
                "the VPN on, the context right (kubectl config current-context)?"
            ) from None
