"""balancing by options that name tasks, and libraries that not everybody has."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from mtl.errors import ConfigError
from mtl.plugin import nearest


def by_task(option: str, values: Mapping[str, float], tasks: Sequence[str]) -> list[float]:
    """Return the values of a mapping in the order of the tasks.

    Raises:
        ConfigError: it names a task that there is not, or leaves one out.
    """
    for name in values:
        check_task(f"balancing.{option}.{name}", name, tasks)
    missing = [name for name in tasks if name not in values]
    if missing:
        raise ConfigError(f"balancing.{option}: nothing for the task {', '.join(missing)}")
    return [values[name] for name in tasks]


def check_task(path: str, name: str, tasks: Sequence[str]) -> None:
    """Refuse the name of a task that there is not.

    Raises:
        ConfigError: with the YAML path and the names that there are.
    """
    if name not in tasks:
        hint = nearest(name, list(tasks))
        raise ConfigError(f"{path}: there is no task {name!r}{hint} (tasks: {', '.join(tasks)})")


def require(method: str, *libraries: str) -> None:
    """Refuse a method whose libraries are not installed.

    Raises:
        ConfigError: with the command that installs them.
    """
    if any(find_spec(library) is None for library in libraries):
        needed, command = " and ".join(libraries), " ".join(libraries)
        raise ConfigError(f"balancing.type: {method} needs {needed}: pip install {command}")
