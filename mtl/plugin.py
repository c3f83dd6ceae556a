"""A component's `type` in YAML is the name of the module that holds it."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import getmembers, isclass
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

Location = tuple[str | int, ...]
MAX_SHOWN, MAX_MESSAGE = 200, 1000
T = TypeVar("T")
Share = Annotated[float, Field(ge=0, lt=1)]


class Options:
    """Base of every configuration dataclass: an unknown key is an error, and so is a wrong type.

    Read from JSON, where strictness still takes a list for a tuple and a string for a path.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Plugin(Options):
    """Base of a package of components, one module each.

    A package defines ONE direct subclass in its `__init__`; each of its modules defines one class
    of the module's name (`type: node_regression` is `NodeRegression` in node_regression.py).
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        if Plugin in cls.__bases__:
            return core_schema.no_info_plain_validator_function(cls.read)
        return handler(source)

    @classmethod
    def types(cls) -> list[str]:
        """Names that `type` may have: the public modules of the package."""
        return list(_modules(cls.__module__))

    @classmethod
    def named(cls, name: str) -> type[Self]:
        """Return the component class of the module `name`."""
        module = import_module(f"{cls.__module__}.{name}")
        wanted = name.replace("_", "")
        (kind,) = (
            member
            for label, member in getmembers(module, isclass)
            if issubclass(member, cls) and label.lower() == wanted
        )
        return kind

    @classmethod
    def read(cls, value: Any) -> Self:
        """Make the component that a YAML mapping names.

        Raises:
            PydanticCustomError: `type` is missing or unknown, or its options are wrong; `explain`
                unfolds it.
        """
        if isinstance(value, cls):
            return value
        name = value.get("type") if isinstance(value, dict) else None
        if name not in cls.types():
            raise PydanticCustomError(
                "unknown_type", "", {"found": value, "name": name, "allowed": cls.types()}
            )
        kind = cls.named(name)
        try:
            options = {key: option for key, option in value.items() if key != "type"}
            return validated(kind, options)
        except ValidationError as error:
            nested = {"errors": error.errors(include_url=False), "kind": kind}
            raise PydanticCustomError("nested", "", nested) from error

    @property
    def type(self) -> str:
        """Name of the component in YAML."""
        return type(self).__module__.rpartition(".")[2]


def validated(kind: type[T], tree: Any) -> T:
    """Make options of a plain tree, read as JSON.

    Raises:
        ValidationError: `explain` says what is wrong.
    """
    made: T = _adapter(kind).validate_json(json.dumps(tree, default=str))  # type: ignore[arg-type]
    return made


@cache
def _modules(package: str) -> tuple[str, ...]:
    paths = import_module(package).__path__
    return tuple(sorted(m.name for m in iter_modules(paths) if not m.name.startswith("_")))


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # ten times as long as what it is for


def explain(error: ValidationError, kind: type) -> list[str]:
    """Say every mistake of a configuration in one line each: YAML path, what was found, allowed."""
    return list(_explain(error.errors(include_url=False), kind, ()))


def dump(value: Any) -> Any:
    """Turn a configuration into plain mappings, lists and scalars, which read as the same again."""
    if is_dataclass(value):
        options = {f.name: dump(getattr(value, f.name)) for f in fields(value)}
        return {"type": value.type, **options} if isinstance(value, Plugin) else options
    if isinstance(value, dict):
        return {key: dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def nearest(word: object, allowed: list[str]) -> str:
    """Return `; did you mean 'x'?` where one of the allowed words is close, else nothing."""
    close = get_close_matches(str(word), allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def path_of(*keys: str | int) -> str:
    """Return a YAML path; keys that would break a line are quoted, and long ones cut."""
    words = map(str, keys)
    return ".".join(w if w.isprintable() and 0 < len(w) <= MAX_SHOWN else shown(w) for w in words)


def shown(value: object) -> str:
    """Return a value as an error shows it: what is long, cut."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _explain(errors: list[ErrorDetails], kind: type, prefix: Location) -> Iterator[str]:
    for error in errors:
        location = prefix + error["loc"]
        path = path_of(*location) or "the configuration"
        context: dict[str, Any] = error.get("ctx", {})
        if error["type"] == "nested":
            yield from _explain(context["errors"], context["kind"], location)
        elif error["type"] == "unknown_type":
            yield f"{path}: {_unknown_type(context)}"
        elif error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            owner = _owner(kind, error["loc"][:-1])
            allowed = [field.name for field in fields(owner)] if is_dataclass(owner) else []
            hint = nearest(error["loc"][-1], allowed)
            yield f"{path}: unknown key{hint} (allowed: {', '.join(allowed)})"
        elif error["type"] in ("missing", "missing_argument"):
            yield f"{path}: required, but missing"
        else:
            message = error["msg"].removeprefix("Value error, ")
            found = "" if error["type"] == "value_error" else f", found {shown(error['input'])}"
            yield f"{path}: {message[:1].lower()}{message[1:MAX_MESSAGE]}{found}"


def _unknown_type(context: dict[str, Any]) -> str:
    allowed: list[str] = context["allowed"]
    if not isinstance(context["found"], dict):
        return f"expected a mapping with a `type`, found {shown(context['found'])}"
    if context["name"] is None:
        return f"`type` is missing (allowed: {', '.join(allowed)})"
    hint = nearest(context["name"], allowed)
    return f"unknown type {shown(context['name'])}{hint} (allowed: {', '.join(allowed)})"


def _owner(kind: Any, location: Location) -> Any:
    """Return the dataclass that a location leads to, or None."""
    for key in location:
        if is_dataclass(kind):
            kind = get_type_hints(kind).get(str(key))
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        options = [arg for arg in get_args(kind) if is_dataclass(arg)]
        if options and get_origin(kind) is not dict:
            kind = options[0]
    return kind
