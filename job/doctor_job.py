"""doctor: the job that is examined: as much of its configuration as can be read, and what is made.

Each part is made once, by the check that looks at it; where that fails, checks that need the part
say so and do not look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from pydantic import ValidationError

from job.config import QUICKSTART, JobConfig, Run, assign, read, tree_at
from job.track import Track
from mtl.errors import ConfigError
from mtl.graphs import Source
from mtl.plugin import validated
from mtl.tasks import Task

if TYPE_CHECKING:
    from job.doctor_training import Training
    from job.doctor_weights import Weights
    from mtl.graphs.store import GraphStore
    from mtl.tasks.bound import BoundTask

T = TypeVar("T")
WRONG = "the configuration is wrong"
NO_GRAPH = "the graph is not open"
NO_TASKS = "the tasks are not bound to the graph"
NOT_BUILT = "the training is not built"
TOO_LARGE = "the model is not built, or larger than the memory"


class UnknownError(Exception):
    """Something cannot be looked at; the message says why."""


@dataclass
class Job:
    """What is known of a job.

    Attributes:
        nproc: processes that it would have on this machine.
        folder: for what is to be gone at the end.
        steps: whether a batch may be computed.
        sections: of the configuration, those that can be read.
        mistakes: of the configuration.
        config: all of it; None where there are mistakes.
        store: its graph, once it is open.
        tasks: by name, once they are bound.
        weights: what the model takes, if that fits.
        training: what trains, once it is built.
    """

    nproc: int
    folder: Path
    steps: bool = True
    sections: Mapping[str, Any] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    config: JobConfig | None = None
    store: "GraphStore | None" = None
    tasks: "Mapping[str, BoundTask] | None" = None
    weights: "Weights | None" = None
    training: "Training | None" = None

    @property
    def graph(self) -> Source:
        """The section `graph`."""
        source: Source = self._section("graph")
        return source

    @property
    def run(self) -> Run:
        """The section `run`."""
        run: Run = self._section("run")
        return run

    @property
    def track(self) -> Track:
        """The section `track`."""
        track: Track = self._section("track")
        return track

    @property
    def readable_tasks(self) -> dict[str, Task]:
        """Those of the section `tasks` that are right by themselves."""
        tasks: dict[str, Task] = self._section("tasks")
        return tasks

    def _section(self, name: str) -> Any:
        section = self.sections.get(name)
        if section is None:
            raise UnknownError(f"the section `{name}` of the configuration is wrong")
        return section

    def read(self, argv: list[str]) -> None:
        """Read `[CONFIG.yaml] [key.path=value ...]`, with all mistakes of all of it."""
        tree: dict[str, Any] = {}
        try:
            files = [word for word in argv if "=" not in word]
            if len(files) > 1:
                raise ConfigError(f"expected one configuration file, found {', '.join(files)}")
            tree = tree_at(Path(files[0]) if files else QUICKSTART)
        except ConfigError as error:
            self.mistakes = str(error).splitlines()
            return
        for word in argv:
            try:
                if "=" in word:
                    assign(tree, word)
            except ConfigError as error:
                self.mistakes += str(error).splitlines()
        try:
            config = read(tree, [])
        except ConfigError as error:
            self.mistakes += str(error).splitlines()
            self.sections = _sections(tree)
            return
        self.sections = {part.name: getattr(config, part.name) for part in fields(config)}
        self.config = None if self.mistakes else config


def known(part: T | None, why: str) -> T:
    """Return a part of the job.

    Raises:
        UnknownError: it could not be made.
    """
    if part is None:
        raise UnknownError(why)
    return part


def _sections(tree: dict[str, Any]) -> dict[str, Any]:
    """Read each section of a configuration by itself, and each task; leave out what is wrong."""
    kinds = get_type_hints(JobConfig, include_extras=True)
    found = {"track": Track(), **_readable(kinds, tree)}
    if isinstance(tasks := tree.get("tasks"), dict):
        each = _readable(dict.fromkeys(tasks, Task), tasks)
        found["tasks"] = {name: task for name, task in each.items() if task is not None}
    return found


def _readable(kinds: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name in (name for name in tree if name in kinds):
        try:
            found[name] = validated(kinds[name], tree[name])
        except ValidationError:  # it is among the mistakes
            found[name] = None
    return found
