"""predict: the folder of the output: parts written aside and renamed, of one set of options."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from job.record import write_json
from job.rundir import differences
from mtl.errors import ConfigError

MANIFEST = "predict.json"


def claim(folder: Path, options: dict[str, Any]) -> None:
    """Say in predict.json what the folder is of; remove what a kill left half-written.

    Raises:
        ConfigError: the folder holds predictions of other options.
    """
    path = folder / MANIFEST
    options = json.loads(json.dumps(options, default=str))
    if path.exists():
        different = [
            f"  {name}: {old!r} there, {new!r} here"
            for name, old, new in differences(json.loads(path.read_text()), options)
        ]
        if different:
            raise ConfigError(
                f"{folder} holds other predictions; give these a folder of their own, or delete "
                "that one:\n" + "\n".join(different)
            )
    write_json(path, options)
    for aside in folder.rglob(".part-*.aside"):
        aside.unlink()


def part_path(folder: Path, number: int) -> Path:
    """Return where a part of an output stands."""
    return folder / f"part-{number:05d}.parquet"


def is_whole(path: Path) -> bool:
    """Return whether a part is there and can be read."""
    try:
        pq.ParquetFile(path).close()
    except (OSError, pa.ArrowException):
        return False
    return True


def write_part(path: Path, table: pa.Table) -> None:
    """Write a part aside, bring it to the disk, then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.aside")
    with aside.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def num_rows(folder: Path) -> int:
    """Count the rows of all parts of an output."""
    return sum(pq.read_metadata(path).num_rows for path in folder.glob("part-*.parquet"))
