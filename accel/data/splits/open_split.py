"""Store of a split, in any form: class folders, packed stores, tar or TFRecord shards, on this machine or at a URL."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from accel.data.remote import fsspec_client
from accel.data.splits.find_shards import TARS, TFRECORDS, is_shard, shards_in
from accel.data.splits.lmdb_files import DATA_FILE, find_lmdb, open_lmdb
from accel.data.splits.shard_settings import DEFAULTS, ShardSettings
from accel.data.store import Files, class_names

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache
    from accel.data.splits.store_match import SplitStore

__all__ = ["SPLITS", "open_packed", "open_shards", "open_split"]

SPLITS = ("train", "val", "test")
"""Splits that a data set may have."""


def open_split(
    root: str | PathLike[str], split: str, cache: BlockCache | None = None, settings: ShardSettings = DEFAULTS
) -> SplitStore | None:  # fmt: skip
    """Return the store of a split, or None if there is none.

    Args:
        root: Folder or URL that holds SPLIT/<class>/*, SPLIT.lmdb (a file, or the folder of one), SPLIT.raw, SPLIT*.tar,
            SPLIT/*.tar, NAME-SPLIT*.tar, or the same of TFRecord files. The first of these that exists is opened.
        split: Name of the split.
        cache: Cache of files at URLs; None for the default one.
        settings: How files of other tools are read.

    Raises:
        ConfigError: If the store cannot be opened.
        TrainingError: If a URL cannot be reached.
    """
    root = str(root)
    if fsspec_client.is_url(root):
        return _open_remote(root, split, cache, settings)
    folder = Path(root).expanduser() / split
    if folder.is_dir() and (classes := class_names(folder)):
        return Files(folder, classes)
    if (file := find_lmdb(folder.parent, split)) is not None:
        return open_lmdb(file, settings.lmdb, split)
    if folder.with_name(f"{split}.raw").is_file():
        return open_packed(str(folder.with_name(f"{split}.raw")))
    return _open_shards_in(str(folder.parent), split, cache, settings)


def _open_remote(root: str, split: str, cache: BlockCache | None, settings: ShardSettings) -> SplitStore | None:
    """Return the store of a split at a URL, or None if there is none."""
    from accel.data.remote.block_cache import BlockCache, local_copy

    cache = BlockCache() if cache is None else cache
    names = set(fsspec_client.list_names(root))
    inside = fsspec_client.list_names(f"{root}/{split}") if f"{split}/" in names else []
    if any(name.endswith("/") for name in inside):
        from accel.data.remote.remote_files import RemoteFolder

        return RemoteFolder(f"{root}/{split}", cache)
    for name in (f"{split}.lmdb", f"{split}.raw"):
        if name in names:
            return open_packed(f"{root}/{name}", cache, settings, split)
    for name in (f"{split}.lmdb", f"{split}_lmdb", split):
        if f"{name}/" in names and DATA_FILE in (inside if name == split else fsspec_client.list_names(f"{root}/{name}")):
            return open_lmdb(local_copy(f"{root}/{name}/{DATA_FILE}", cache), settings.lmdb, split)
    return _open_shards_in(root, split, cache, settings)


def _open_shards_in(root: str, split: str, cache: BlockCache | None, settings: ShardSettings) -> SplitStore | None:
    """Return the store of the shards of a split in a folder or at a URL, or None if there are none."""
    for suffixes in (TARS, TFRECORDS):
        if shards := shards_in(root, split, suffixes):
            return open_shards(shards, cache, settings)
    return None


def open_packed(
    file: str, cache: BlockCache | None = None, settings: ShardSettings = DEFAULTS, split: str = "SPLIT"
) -> SplitStore:  # fmt: skip
    """Return the store in a file `.lmdb` or `.raw`, or at a URL, from which the whole file is fetched.

    Args:
        file: Path or URL.
        cache: Cache of files at URLs; None for the default one.
        settings: How an LMDB file of another tool is read.
        split: Name of the split, for SPLIT in the settings.
    """
    from accel.data.stores.formats import store_at

    copy = None
    if fsspec_client.is_url(file):
        from accel.data.remote.block_cache import local_copy

        copy = local_copy(file, cache)
    if file.endswith(".raw"):
        return store_at(Path(file), copy)
    return open_lmdb(copy or Path(file), settings.lmdb, split)


def open_shards(names: list[str], cache: BlockCache | None = None, settings: ShardSettings = DEFAULTS) -> SplitStore:
    """Return the store of shards, of the format that the first one's suffix names."""
    if is_shard(names[0], TFRECORDS):
        from accel.data.shards.tfrecord_shards import TFRecords

        return TFRecords(names, settings.features, settings.first, cache)
    from accel.data.shards.webdataset_shards import Tars

    return Tars(names, settings.image, settings.label, cache=cache)
