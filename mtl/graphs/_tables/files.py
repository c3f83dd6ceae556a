"""tables: which files a table has, on this machine or in an object store."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from pyarrow import ArrowException
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem
from pyarrow.fs import LocalFileSystem as Local

from mtl.errors import ConfigError
from mtl.graphs._tables.options import Table
from mtl.plugin import nearest

Format = Literal["parquet", "csv"]
ARROW_SCHEMES = {"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss", "file"}
FORMATS: dict[str, Format] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv"
}  # fmt: skip
COMPRESSED = {".gz", ".bz2", ".zst", ".lz4"}


@dataclass(frozen=True)
class File:
    """One file of a table.

    Attributes:
        name: as errors say it.
        path: in its file system.
        system: the file system.
        format: of the content.
        stamp: what changes with the content.
    """

    name: str
    path: str
    system: FileSystem
    format: Format
    stamp: tuple[Any, ...]

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return isinstance(self.system, Local)

    @property
    def suffix(self) -> str:
        """Suffix of the name without that of a compression."""
        return _suffix(self.path)


def find_all(root: str, groups: Mapping[str, Mapping[str, Table]]) -> list[File]:
    """Return the files of all tables, each table's in the order in which they are read.

    Raises:
        ConfigError: with all mistakes, each with its YAML path.
    """
    found, wrong = [], []
    for group, tables in groups.items():
        for name, table in tables.items():
            try:
                found += find(root, table, f"graph.{group}.{name}")
            except ConfigError as error:
                wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def find(root: str, table: Table, path: str) -> list[File]:
    """Return the files of one table.

    Args:
        root: where relative names start.
        table: which says the names.
        path: of the table in YAML.

    Raises:
        ConfigError: a name matches no file, a file is of no known format, or found twice.
    """
    files = []
    for name in table.files:
        where = f"{path}.files: {name!r}"
        address = _join(root, name)
        try:
            found = [(system, info, _etag(system, info)) for system, info in _matching(address)]
            hint = "" if found else _similar(address)
        except (OSError, ArrowException, ValueError, ImportError) as error:
            raise ConfigError(f"{where}: {address} cannot be listed: {error}") from error
        if not found:
            raise ConfigError(f"{where}: there is no {address}{hint}")
        files += [_file(address, *of_one, table.format, where) for of_one in found]
    for file, count in Counter(file.name for file in files).items():
        if count > 1:
            raise ConfigError(f"{path}.files: {file} is found {count} times; its rows would be too")
    return files


def _file(
    address: str, system: FileSystem, info: FileInfo, etag: str, format: Format | None, where: str
) -> File:
    kind = format or FORMATS.get(_suffix(info.path))
    if kind is None:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{where}: {info.path}: give `format`, or one of the suffixes {known}")
    scheme = urlsplit(address).scheme if _is_url(address) else ""
    name = f"{scheme}://{info.path.lstrip('/')}" if scheme else info.path
    return File(name, info.path, system, kind, (name, info.size, info.mtime_ns, etag))


def _matching(address: str) -> Iterator[tuple[FileSystem, FileInfo]]:
    """Yield the files that an address names, in the order of their names."""
    system, path = _open(address)
    parts = PurePosixPath(path).parts
    magic = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    if magic is None:
        info = system.get_file_info(path)
        if info.type == FileType.File:
            yield system, info
        elif info.type == FileType.Directory:
            selector = FileSelector(path, recursive=True)
            inside = sorted(system.get_file_info(selector), key=lambda found: found.path)
            yield from ((system, i) for i in inside if _is_data(i, info.path))
        return
    base = str(PurePosixPath(*parts[:magic])) if magic else "."
    deep = len(parts) > magic + 1
    selector = FileSelector(base, recursive=deep, allow_not_found=True)
    pattern = re.compile(_regex(str(PurePosixPath(path))))
    for info in sorted(system.get_file_info(selector), key=lambda found: found.path):
        if info.type == FileType.File and pattern.fullmatch(str(PurePosixPath(info.path))):
            yield system, info


def _open(address: str) -> tuple[FileSystem, str]:
    """Return file system and path of an address: pyarrow's, else fsspec's."""
    if not _is_url(address):
        return Local(), address
    if urlsplit(address).scheme in ARROW_SCHEMES:
        system, path = FileSystem.from_uri(address)
        return system, str(path)
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    found, path = url_to_fs(address)
    return PyFileSystem(FSSpecHandler(found)), path


def _etag(system: FileSystem, info: FileInfo) -> str:
    """Return what some object stores say of a content, "" where they do not."""
    if not isinstance(system, PyFileSystem):
        return ""
    said = system.handler.fs.info(info.path)
    return str(said.get("ETag") or said.get("etag") or "")


def _join(root: str, name: str) -> str:
    if _is_url(name) or name.startswith("/"):
        return name
    if not _is_url(root):
        return str(PurePosixPath(root) / name)
    url = urlsplit(root)  # options of the file system may stand after a `?`
    return url._replace(path=f"{url.path.rstrip('/')}/{name}").geturl()


def _is_url(address: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", address) is not None


def _suffix(path: str) -> str:
    name = PurePosixPath(path)
    return PurePosixPath(name.stem).suffix if name.suffix in COMPRESSED else name.suffix


def _is_data(info: FileInfo, folder: str) -> bool:
    """Say whether a file of a folder is data: not hidden, not a log or a note beside it."""
    inside = PurePosixPath(info.path.removeprefix(folder)).parts
    shown = not any(part.startswith((".", "_")) for part in inside)
    return info.type == FileType.File and shown and _suffix(info.path) in FORMATS


def _regex(pattern: str) -> str:
    """Translate a glob: `**` is any number of folders, `*` and `?` stay inside one."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]]+\])", pattern)
    return "".join(
        words.get(token)
        or (token.replace("[!", "[^") if token.startswith("[") else re.escape(token))
        for token in tokens
    )


def _similar(address: str) -> str:
    """Return a hint where a name beside is close."""
    system, path = _open(address)
    folder = str(PurePosixPath(path).parent)
    beside = system.get_file_info(FileSelector(folder, allow_not_found=True))
    return nearest(PurePosixPath(path).name, [info.base_name for info in beside])
