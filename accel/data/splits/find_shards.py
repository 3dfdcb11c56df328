"""Shards of a split: the files that a setting or a folder names."""

from __future__ import annotations

import os
import re
from glob import escape, glob
from pathlib import Path
from typing import Any

from accel.data.remote import fsspec_client
from accel.data.splits.path_patterns import SplitNotFound, expand
from accel.errors import ConfigError, listed

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
        raise SplitNotFound(f"{plugin}.path={path}: there is no such folder")
    elsewhere = f"; say where they are with {plugin}.path=DIR/SPLIT-*{suffix}" if path == "auto" else ""
    raise SplitNotFound(f"{plugin}: there is no {place}/{split}*{suffix}, nor any {place}/{split}/*{suffix}{elsewhere}")


def shards_in(place: str, split: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return the files of a split in a folder or at a URL, sorted: SPLIT*.tar; or else SPLIT/*.tar; or else NAME-SPLIT*.tar.

    Raises:
        ConfigError: If there are files of several names NAME.
    """
    if fsspec_client.is_url(place):
        listed = fsspec_client.list_names(place)
        inside = [f"{place}/{split}/{name}" for name in fsspec_client.list_names(f"{place}/{split}")]
    else:
        listed = sorted(os.listdir(place)) if os.path.isdir(place) else []
        inside = sorted(glob(f"{escape(place)}/{split}/*"))
    begun = [f"{place}/{name}" for name in listed if name.startswith(split)]
    for ends in (suffixes, compressed(suffixes)):  # compressed files are listed too, and refused by name
        for group in (begun, inside):
            if names := [name for name in group if is_shard(name, ends)]:
                return names
        if names := _named_shards([name for name in listed if is_shard(name, ends)], split, place):
            return names
    return []


def _named_shards(names: list[str], split: str, place: str) -> list[str]:
    """Return the files NAME-SPLIT..., as TensorFlow Datasets calls them. Raise ConfigError if there are several NAMEs."""
    word = f"(?:{split}|validation|valid)" if split == "val" else split
    matches = {name: match for name in names if (match := re.match(rf"(.+)[-_.]{word}(?=[-_.])", name))}
    sets = sorted({match[1] for match in matches.values()})
    if len(sets) > 1:
        pattern = f"{place}/{sets[0]}-SPLIT*{'.tar' if names[0].endswith('.tar') else '.tfrecord*'}"
        plugin = "webdataset" if names[0].endswith(".tar") else "tfrecord"
        raise ConfigError(
            f"{place} holds shards of {len(sets)} data sets for {split}: {listed(sets, 3)}; "
            f"say which: plugins.{plugin}.path={pattern}"
        )
    return [f"{place}/{name}" for name in matches]


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
