"""YAML as people expect it: `1e-3` is a number, `no` a word, and a key stands once."""

import re
from typing import Any

import yaml

from job.redaction import holds_secret
from mtl.errors import ConfigError

MAX_DEPTH = 50
"""Mappings and lists inside one another; what reads them after us gives up at 200."""
MAX_DIGITS = 100


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema of YAML 1.2: no anchors, no aliases, no tags."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None):
            raise _wrong("anchors and aliases are not allowed", event.start_mark)
        if getattr(event, "tag", None):
            raise _wrong(f"tags are not allowed, found {event.tag!r}", event.start_mark)
        if self._depth > MAX_DEPTH:
            raise _wrong(f"nested deeper than {MAX_DEPTH}", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and (fault := fault_of(text)):
            raise _wrong(fault, node.start_mark)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("expected a word as a key", key.start_mark)
            if key.value in seen:
                raise _wrong(f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _wrong(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def fault_of(text: str) -> str | None:
    """Return why a text can stand in no configuration, which other files repeat."""
    if "\0" in text:
        return f"{text[:50]!r} holds a NUL character"
    if not text.isascii() and not _is_unicode(text):
        return f"{text[:50]!r} is no Unicode"
    if holds_secret(text):
        return (
            "an address with a password or a signature; give it in the environment, such as "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (docs/security.md)"
        )
    return None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})$"), list(_first)
    )


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    if len(digits) > MAX_DIGITS:
        raise _wrong(f"a number of {len(digits)} characters is too long", node.start_mark)
    return int(digits)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", loader.construct_scalar(node).lower()))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def parse(text: str, origin: str) -> Any:
    """Read one YAML document.

    Raises:
        ConfigError: naming `origin`, line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        raise ConfigError(f"{place}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # of characters that YAML does not take
        raise ConfigError(f"{origin}: {' '.join(str(error).split())}") from None


def render(tree: Any) -> str:
    """Write a tree so that `parse` reads the same back."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes what either version of YAML would misread."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if re.fullmatch(r"[-+.0-9][-+.0-9eE]*", text):  # looks like a number
        style = "'"
    elif re.search("[\x85\u2028\u2029]", text):  # breaks a line, unless escaped
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)
