"""Formats of packed stores by name, and the store of a file."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from accel.data.stores.lmdb_store import LMDBStore
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.raw_store import RawStore
from accel.errors import ConfigError

__all__ = ["FORMATS", "store_at", "stores_in"]

FORMATS: dict[str, type[PackedStore]] = {"lmdb": LMDBStore, "raw": RawStore}


def store_at(path: str | PathLike[str], copy: str | PathLike[str] | None = None) -> PackedStore:
    """Return the store of a file, of the format that its suffix names.

    Args:
        path: The file, or the place that it was fetched from.
        copy: File to read in its place.

    Raises:
        ConfigError: If the suffix is neither .lmdb nor .raw.
    """
    path = Path(path).expanduser()
    kind = FORMATS.get(path.suffix.removeprefix("."))
    if kind is None:
        raise ConfigError(f"{path} is no store: its name ends in neither .lmdb nor .raw")
    return kind(path if copy is None else Path(copy))


def stores_in(folder: str | PathLike[str]) -> list[Path]:
    """Return the files of the stores in a folder, sorted."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.removeprefix(".") in FORMATS and path.is_file())
