"""The splits of a data set, in whatever form: class folders, packed stores, tar or TFRecord shards, here or at a URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from accel.data.remote import fsspec_client
from accel.data.splits.find_shards import TARS, TFRECORDS, is_shard, shards_in
from accel.data.store import Files, class_names

if TYPE_CHECKING:
    from accel.data.remote.block_cache import BlockCache
    from accel.data.splits.store_match import SplitStore

__all__ = ["NAMES", "packed_at", "shards_of", "split_at"]

NAMES = ("train", "val", "test")
"""The splits that there may be."""


def split_at(root: str, split: str, cache: BlockCache | None = None) -> SplitStore | None:
    """The store of a split; None where there is none.

    Args:
        root: a folder or a URL that holds SPLIT/<class>/*, SPLIT.lmdb, SPLIT.raw, SPLIT*.tar, SPLIT/*.tar, or the same of TFRecord
            files; the first of these that is there is taken.
        cache: where files at a URL are kept.

    Raises:
        ConfigError: where it cannot be opened.
        TrainingError: where a URL cannot be reached.
    """
    far = fsspec_client.is_url(root)
    if far:
        if cache is None:
            from accel.data.remote.block_cache import BlockCache

            cache = BlockCache()
        there = set(fsspec_client.list_names(root))
        folders = (
            [name for name in fsspec_client.list_names(f"{root}/{split}") if name.endswith("/")] if f"{split}/" in there else []
        )
        if folders:
            from accel.data.remote.remote_files import RemoteFolder

            return RemoteFolder(f"{root}/{split}", cache)
    else:
        folder = Path(root) / split
        if folder.is_dir() and (classes := class_names(folder)):
            return Files(folder, classes)
        there = {path.name for path in Path(root).iterdir() if path.is_file()}
    for suffix in ("lmdb", "raw"):
        if f"{split}.{suffix}" in there:
            return packed_at(f"{root}/{split}.{suffix}", cache)
    for suffixes in (TARS, TFRECORDS):
        if names := shards_in(root, split, suffixes):
            return shards_of(names, cache)
    return None


def packed_at(file: str, cache: BlockCache | None = None) -> SplitStore:
    """The packed store in a file, or at a URL, from which it is fetched as a whole."""
    from accel.data.stores.formats import store_at

    if fsspec_client.is_url(file):
        from accel.data.remote.block_cache import local_copy

        return store_at(Path(file), local_copy(file, cache))
    return store_at(Path(file))


def shards_of(names: list[str], cache: BlockCache | None = None) -> SplitStore:
    """The store of shards, by the end of their names."""
    if is_shard(names[0], TFRECORDS):
        from accel.data.shards.tfrecord_shards import TFRecords

        return TFRecords(names, cache=cache)
    from accel.data.shards.webdataset_shards import Tars

    return Tars(names, cache=cache)
