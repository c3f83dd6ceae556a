"""What a user got wrong: every such error carries the exit code that the job ends with."""

from typing import ClassVar


class UserError(ValueError):
    """Base of the errors that are printed without a traceback."""

    exit_code: ClassVar[int] = 70


class ConfigError(UserError):
    """A mistake in the configuration: the message names its YAML path and what is allowed."""

    exit_code: ClassVar[int] = 64


class DataError(UserError):
    """A mistake in the data: the message names the file, row and value and what is allowed."""

    exit_code: ClassVar[int] = 65


class RefusedError(DataError):
    """Data that could run code, or that lead elsewhere: the message names the file and why."""

    exit_code: ClassVar[int] = 77
