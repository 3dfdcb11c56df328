"""Shards of a split: the files that a setting or a folder names."""

from __future__ import annotations

import re
from glob import escape, glob
from pathlib import Path
from typing import Any

from accel.data.remote import fsspec_client
from accel.data.splits.path_patterns import expand
from accel.errors import ConfigError

__all__ = ["TARS", "TFRECORDS", "compressed", "find_shards", "is_shard", "shards_in", "sibling_folder"]

TARS, TFRECORDS = (".tar",), (".tfrecord", ".tfrecords")
"""Suffixes of shards."""


def find_shards(data: Any, split: str, path: str, suffixes: tuple[str, ...], plugin: str) -> list[str]:
    """Return the files of a split, as a plugin's setting `path` names them.

    Args:
        data: Data set whose folder's parent is searched if `path` is auto.
        split: Name of the split.
        path: auto, a folder, or a pattern in which SPLIT stands for the split.
        suffixes: Suffixes of the files.
        plugin: Name of the plugin, for messages.

    Raises:
        ConfigError: If there is no such file.
    """
    place, suffix = path, suffixes[0]
    if path == "auto":
        place = sibling_folder(data)
        if not place:
            raise ConfigError(
                f"{plugin}.path=auto: the {split} data is in no folder, beside which shards would be; say where they are"
            )
    elif "SPLIT" in path:
        return expand(path.replace("SPLIT", split))
    elif re.search(r"[*?\[{]", path) or path.endswith(suffixes):
        raise ConfigError(
            f"{plugin}.path={path} would be read for every split; write SPLIT in place of its name: DIR/SPLIT-*{suffix}"
        )
    place = place.rstrip("/") if fsspec_client.is_url(place) else str(Path(place).expanduser())
    if names := shards_in(place, split, suffixes):
        return names
    if not fsspec_client.is_url(place) and not Path(place).is_dir():
        raise ConfigError(f"{plugin}.path={path}: there is no such folder")
    elsewhere = f"; say where they are with {plugin}.path=DIR/SPLIT-*{suffix}" if path == "auto" else ""
    raise ConfigError(f"{plugin}: there is no {place}/{split}*{suffix}, nor any {place}/{split}/*{suffix}{elsewhere}")


def shards_in(place: str, split: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files of a split in a folder or at a URL, sorted: SPLIT*.tar, or, if there is none, SPLIT/*.tar."""
    if fsspec_client.is_url(place):
        groups = [
            [f"{place}/{name}" for name in fsspec_client.list_names(place) if name.startswith(split)],
            [f"{place}/{split}/{name}" for name in fsspec_client.list_names(f"{place}/{split}")],
        ]
    else:
        groups = [sorted(glob(pattern)) for pattern in (f"{escape(place)}/{split}*", f"{escape(place)}/{split}/*")]
    for ends in (suffixes, compressed(suffixes)):  # compressed files are listed too, and refused by name
        for group in groups:
            if names := [name for name in group if is_shard(name, ends)]:
                return names
    return []


def compressed(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the suffixes of compressed files."""
    return tuple(suffix + compression for suffix in suffixes for compression in (".gz", ".bz2", ".xz", ".zst"))


def is_shard(name: str, suffixes: tuple[str, ...]) -> bool:
    """Return whether a file is a shard by its name: `train-003.tar`, `train.tfrecord-00003-of-00128`."""
    return re.sub(r"-\d+-of-\d+$", "", name).endswith(suffixes)


def sibling_folder(data: Any) -> str:
    """Return the folder or URL that holds the store of a data set; empty if there is none."""
    path = str(getattr(data.store, "path", "") or "")
    return path.rpartition("/")[0]
