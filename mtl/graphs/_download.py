"""The download of a source's raw file: whole or not at all."""

from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

from mtl.errors import DataError


def download(url: str, path: Path, place: str) -> None:
    """Fetch a file aside, then rename it.

    Args:
        url: of the file.
        path: that it gets.
        place: what to place into the folder by hand where the download fails.

    Raises:
        DataError: it cannot be fetched; says what to place where.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with urlopen(url, timeout=30) as response:
            content = response.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        aside.unlink(missing_ok=True)
        raise DataError(
            f"{path}: missing, and {url} cannot be downloaded ({error}); place {place} into "
            f"{path.parent}"
        ) from error
