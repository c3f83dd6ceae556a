"""checkpoint: the files of one: written aside, moved into place, checked before they are read.

At every moment of `write_folder`, a crash leaves either what was there before or what is new, both
whole: files and folders are on the disk before the rename that makes them visible.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtl.errors import DataError
from mtl.graphs._npy import sync

VERSION, MANIFEST = 2, "manifest.json"
REPLACED = ".replaced"
"""What a folder is called while the new one takes its place."""


def write_folder(final: Path, fill: Callable[[Path], None], manifest: dict[str, Any]) -> None:
    """Write a checkpoint aside and move it into place.

    Args:
        final: where it shall be.
        fill: writes the files into a folder.
        manifest: what is to be known of them without reading them.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        fill(aside)
        files = {path.name: _identity(path) for path in sorted(aside.iterdir())}
        manifest = {"version": VERSION, **manifest, "files": files}
        manifest["sha256"] = _digest(manifest)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in (*aside.iterdir(), aside):
            sync(path)
        old = final.with_name(f".{final.name}{REPLACED}")
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        aside.rename(final)
        sync(final.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def clear_up(folder: Path) -> None:
    """Remove what a crash left half-written, and take back what was about to be replaced.

    Nobody else may write there meanwhile: the run directory is locked.
    """
    for path in folder.glob(".step_*"):
        final = path.with_name(path.name.removeprefix(".").removesuffix(REPLACED))
        if path.name.endswith(REPLACED) and not final.exists():
            path.rename(final)
        else:
            shutil.rmtree(path)


def remove(folder: Path) -> None:
    """Remove a checkpoint: invisible at once, whatever happens on the way."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    folder.rename(aside)
    shutil.rmtree(aside)


def verify(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    Raises:
        DataError: it is of a version that this program does not know.
    """
    try:
        manifest = read_manifest(folder)
        if manifest["version"] > VERSION:
            raise DataError(f"{folder}: written by a newer version; update to read it")
        written = manifest.pop("sha256", None)
        if written != _digest(manifest) and manifest["version"] > 1:  # the first had none
            return f"{MANIFEST} has changed since it was written"
        if manifest["progress"]["step"] != step_of(folder):
            return f"it is of step {manifest['progress']['step']}"
        files: dict[str, Any] = manifest["files"]
        for name, identity in files.items():
            if Path(name).name != name:
                return f"{name!r} is no name of a file"
            if _identity(folder / name) != identity:
                return f"{name} has changed since it was written"
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint; `verify` says whether it can be believed."""
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder / MANIFEST} is missing")
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest


def folders(parent: Path) -> list[Path]:
    """Return all checkpoints, oldest first, whole or not."""
    found = (path for path in parent.glob("step_*") if re.fullmatch(r"step_\d{8,}", path.name))
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """Return the step of a checkpoint."""
    return int(folder.name.removeprefix("step_"))


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _identity(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.is_symlink():
        raise OSError(f"{path} is no file")  # a pipe would be waited for
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}
