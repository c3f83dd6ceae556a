"""tables: options whose `kind` says which class they are."""

from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from mtl.plugin import Options, nearest, shown, validated

Mistake = tuple[tuple[str | int, ...], str]
"""Where it is, from the object that is checked on, and what is wrong and allowed."""


class Tagged(Options):
    """Base of a family of options: each direct subclass has a `kind`; a bare word is short for it.

    `age: numeric` is `age: {kind: numeric}`.
    """

    kind: str
    """Which class of the family it is."""
    default: ClassVar[str | None] = None
    """The kind where none is given."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        if Tagged in cls.__bases__:
            return core_schema.no_info_plain_validator_function(cls.read)
        return handler(source)

    @classmethod
    def read(cls, value: Any) -> Self:
        """Make the member of the family that a word or a mapping names.

        Raises:
            PydanticCustomError: `kind` is missing or unknown, or its options are wrong.
        """
        if isinstance(value, cls):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        kinds = {kind.kind: kind for kind in cls.__subclasses__()}
        allowed = f"(allowed: {', '.join(kinds)})"
        if not isinstance(options, dict):
            found = f"expected a mapping with a `kind` {allowed}, found {shown(value)}"
            raise wrong([((), found)], cls)
        name = options.get("kind", cls.default)
        if name is None:
            raise wrong([((), f"`kind` is missing {allowed}")], cls)
        if not isinstance(name, str) or name not in kinds:
            found = f"unknown kind {shown(name)}{nearest(name, list(kinds))} {allowed}"
            raise wrong([((), found)], cls)
        try:
            return validated(kinds[name], options)
        except ValidationError as error:
            nested = {"errors": error.errors(include_url=False), "kind": kinds[name]}
            raise PydanticCustomError("nested", "", nested) from error


def wrong(mistakes: list[Mistake], kind: type) -> PydanticCustomError:
    """Return the error that `mtl.plugin.explain` unfolds into one line a mistake."""
    errors: list[ErrorDetails] = [
        {"type": "value_error", "loc": loc, "msg": message, "input": None}
        for loc, message in mistakes
    ]
    return PydanticCustomError("nested", "", {"errors": errors, "kind": kind})
