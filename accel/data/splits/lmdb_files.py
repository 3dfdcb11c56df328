"""LMDB files of a split: one that accel packed, or one of another tool, alone or as `data.mdb` in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from accel.data.shards.key_labels import LMDBLayout
from accel.data.shards.lmdb_pictures import LMDBPictures
from accel.data.stores.lmdb_pages import SIGNATURE
from accel.data.stores.lmdb_store import LMDBStore

__all__ = ["DATA_FILE", "find_lmdb", "is_packed", "lmdb_file", "open_lmdb"]

DATA_FILE = "data.mdb"
"""Name of the file in a folder that LMDB made."""


def lmdb_file(place: Path) -> Path | None:
    """Return the LMDB file at `place`, which is the file or its folder; None if there is none."""
    inside = place / DATA_FILE
    return inside if inside.is_file() else place if place.is_file() else None


def find_lmdb(folder: Path, split: str) -> Path | None:
    """Return the LMDB file of a split, or None: SPLIT.lmdb, or data.mdb in a folder SPLIT.lmdb, SPLIT_lmdb or SPLIT."""
    places = [folder / f"{split}.lmdb", folder / f"{split}_lmdb", folder / split]
    return next((file for place in places if (file := lmdb_file(place)) is not None), None)


def is_packed(file: Path) -> bool:
    """Return whether a file ends with the seal of a store that accel packed."""
    with open(file, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - len(SIGNATURE)))
        return stream.read() == SIGNATURE


def open_lmdb(file: Path, layout: LMDBLayout, split: str) -> LMDBStore | LMDBPictures:
    """Return the store of an LMDB file. Raise ConfigError if it cannot be read."""
    return LMDBStore(file) if is_packed(file) else LMDBPictures(str(file), layout, split)
