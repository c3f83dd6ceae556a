"""How long work on a graph folder says how far it is."""

from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much in all; 0 where that is not known."""


def silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
