"""Store of a split, in any form: class folders, packed stores, tar or TFRecord shards, on this machine or at a URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from accel.data.remote import fsspec_client
from accel.data.splits.find_shards import TARS, TFRECORDS, is_shard, shards_in
from accel.data.store import Files, class_names

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache
    from accel.data.splits.store_match import SplitStore

__all__ = ["SPLITS", "open_packed", "open_shards", "open_split"]

SPLITS = ("train", "val", "test")
"""Splits that a data set may have."""


def open_split(root: str, split: str, cache: BlockCache | None = None) -> SplitStore | None:
    """Return the store of a split, or None if there is none.

    Args:
        root: Folder or URL that holds SPLIT/<class>/*, SPLIT.lmdb, SPLIT.raw, SPLIT*.tar, SPLIT/*.tar, or the same of TFRecord
            files. The first of these that exists is opened.
        split: Name of the split.
        cache: Cache of files at URLs; None for the default one.

    Raises:
        ConfigError: If the store cannot be opened.
        TrainingError: If a URL cannot be reached.
    """
    if fsspec_client.is_url(root):
        if cache is None:
            from accel.data.remote.block_cache import BlockCache

            cache = BlockCache()
        names = set(fsspec_client.list_names(root))
        if f"{split}/" in names and any(name.endswith("/") for name in fsspec_client.list_names(f"{root}/{split}")):
            from accel.data.remote.remote_files import RemoteFolder

            return RemoteFolder(f"{root}/{split}", cache)
    else:
        folder = Path(root) / split
        if folder.is_dir() and (classes := class_names(folder)):
            return Files(folder, classes)
        names = {path.name for path in Path(root).iterdir() if path.is_file()}
    for suffix in ("lmdb", "raw"):
        if f"{split}.{suffix}" in names:
            return open_packed(f"{root}/{split}.{suffix}", cache)
    for suffixes in (TARS, TFRECORDS):
        if shards := shards_in(root, split, suffixes):
            return open_shards(shards, cache)
    return None


def open_packed(file: str, cache: BlockCache | None = None) -> SplitStore:
    """Return the packed store in a file, or at a URL, from which the whole file is fetched."""
    from accel.data.stores.formats import store_at

    if fsspec_client.is_url(file):
        from accel.data.remote.block_cache import local_copy

        return store_at(Path(file), local_copy(file, cache))
    return store_at(Path(file))


def open_shards(names: list[str], cache: BlockCache | None = None) -> SplitStore:
    """Return the store of shards, of the format that the first one's suffix names."""
    if is_shard(names[0], TFRECORDS):
        from accel.data.shards.tfrecord_shards import TFRecords

        return TFRecords(names, cache=cache)
    from accel.data.shards.webdataset_shards import Tars

    return Tars(names, cache=cache)
