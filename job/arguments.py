"""Command lines whose mistakes end like those of the configuration, with 64."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import NoReturn

from job.redaction import without_secrets
from mtl.errors import ConfigError, UserError


class Parser(ArgumentParser):
    """An ArgumentParser that raises ConfigError instead of leaving with 2."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ConfigError(f"{message}\n{self.format_usage().rstrip()}")


def positive(text: str) -> int:
    """Read a count of one or more; argparse names the option in the error."""
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(text)
    return int(text)


def natural(text: str) -> int:
    """Read a count of zero or more; argparse names the option in the error."""
    if not text.isdecimal():
        raise ValueError(text)
    return int(text)


def exit_code(command: Callable[[], int | None]) -> int:
    """Run a command; a user's mistake becomes its message and its exit code, not a traceback."""
    try:
        return command() or 0
    except UserError as error:
        print(without_secrets(str(error)), file=sys.stderr)
        return error.exit_code
