"""Sources and targets of packing: which store goes into which file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from accel.data.remote import fsspec_client
from accel.data.shards.webdataset_shards import Tars
from accel.data.splits.find_shards import TARS, TFRECORDS, compressed, is_shard
from accel.data.splits.lmdb_files import lmdb_file, open_lmdb
from accel.data.splits.open_split import SPLITS, open_packed, open_shards, open_split
from accel.data.splits.path_patterns import expand
from accel.data.splits.shard_settings import DEFAULTS, ShardSettings
from accel.data.store import Files, KeyedStore, class_names
from accel.data.stores.formats import FORMATS, store_at
from accel.errors import ConfigError

__all__ = ["Jobs", "targets"]

Jobs = list[tuple[KeyedStore, Path]]
"""Source store and target file of each split."""


def targets(source: str, target: Path, format: str, settings: ShardSettings = DEFAULTS) -> Jobs:
    """Return (source store, target file) of each split.

    Args:
        source: a folder, store, shard, pattern of shards, or URL of any of these.
        target: a folder, or a file if there is one split.
        format: `lmdb` or `raw`.
        settings: how files of other tools are read.

    Raises:
        ConfigError: if `source` cannot be packed, or not into `target`.
        TrainingError: if a URL cannot be reached.
    """
    remote = fsspec_client.is_url(source)
    source = source.rstrip("/") if remote else str(Path(source).expanduser())
    names = _shards(source)
    if names:
        return _of_shards(names, target, format, settings)
    name = source.rpartition("/")[2] if remote else Path(source).resolve().name
    packed = re.search(r"\.(lmdb|raw)$", source) is not None if remote else lmdb_file(Path(source)) is not None
    if packed:
        return [(_one_file(source, remote, settings), _file(target, _stem(name), format))]
    if not remote and not Path(source).is_dir():
        raise ConfigError(f"{source}: there is no such folder or store")
    splits = {split: part for split in SPLITS if (part := _split(source, split, settings)) is not None}
    if splits:
        return _several(source, splits, target, format)
    if remote:
        from accel.data.remote.block_cache import BlockCache
        from accel.data.remote.remote_files import RemoteFolder

        return [(RemoteFolder(source, BlockCache()), _file(target, name, format))]
    return [(_files(Path(source)), _file(target, name, format))]


def _shards(source: str) -> list[str]:
    """Return the files of a pattern, or the one file, if they are tar or TFRecord files by their names; else none."""
    kinds = TARS + TFRECORDS
    if re.search(r"[*?\[{]", source) and not Path(source).exists():
        names = expand(source)
        odd = next((name for name in names if not is_shard(name, kinds + compressed(kinds))), None)
        if odd is not None:
            raise ConfigError(f"{odd}: a pattern names tar or TFRecord files ({', '.join(kinds)}), and that is none by its name")
        return names
    exists = fsspec_client.is_url(source) or Path(source).is_file()
    return [source] if exists and is_shard(source, kinds + compressed(kinds)) else []


def _one_file(source: str, remote: bool, settings: ShardSettings) -> KeyedStore:
    """Return the store in one file, or in the folder of an LMDB file."""
    path = Path(source)
    if remote or path.suffix[1:] == "raw":
        store: KeyedStore = open_packed(source, settings=settings)
    else:
        file = lmdb_file(path)
        if file == path and path.suffix not in (".lmdb", ".mdb"):
            return store_at(path)  # which refuses it by its name
        store = open_lmdb(file or path, settings.lmdb, _stem(path.name))
    len(store)  # a store that cannot be read raises before anything begins
    return store


def _stem(name: str) -> str:
    """Return the name of a split by that of its file or folder: `train` of train.lmdb and of train_lmdb."""
    return re.sub(r"[._]lmdb$|\.(raw|mdb)$", "", name)


def _of_shards(names: list[str], target: Path, format: str, settings: ShardSettings) -> Jobs:
    """Return the jobs for shards, of which each folder inside may be a split."""
    store = open_shards(names, settings=settings)
    if isinstance(store, Tars) and store.named and set(store.classes) <= set(SPLITS):  # the folders are those of the splits
        splits: dict[str, KeyedStore] = {
            split: Tars(names, settings.image, settings.label, f"{store.class_root}{split}/") for split in store.classes
        }
        return _several(names[0], splits, target, format)
    name = re.split(r"\.|[-_]?\d", names[0].rpartition("/")[2])[0]
    return [(store, _file(target, name or "train", format))]


def _several(source: str, splits: Mapping[str, KeyedStore], target: Path, format: str) -> Jobs:
    """Return a job for each split. Raise ConfigError if `target` is one file."""
    if target.suffix[1:] in FORMATS:
        raise ConfigError(f"{source} has {len(splits)} splits ({', '.join(splits)}), each of which becomes a file; name a folder")
    return [(store, target / f"{split}.{format}") for split, store in splits.items()]


def _split(source: str, split: str, settings: ShardSettings) -> KeyedStore | None:
    """Return the store of one split of a folder or URL; None if it has no such split."""
    if not fsspec_client.is_url(source) and (Path(source) / split).is_dir():
        return open_split(source, split, settings=settings) or _files(Path(source) / split)
    return open_split(source, split, settings=settings)


def _file(target: Path, name: str, format: str) -> Path:
    """Return the file for one store: `target`, or NAME.FORMAT in it. Raise ConfigError if its suffix is another format."""
    suffix = target.suffix[1:]
    if suffix in FORMATS and suffix != format:
        raise ConfigError(f"{target} ends in .{suffix}, and --format is {format}; make them the same")
    return target if suffix == format else target / f"{name}.{format}"


def _files(folder: Path) -> Files:
    """Return the pictures of class folders. Raise ConfigError if there are none."""
    classes = class_names(folder)
    if not classes:
        raise ConfigError(f"{folder} has no class folders; its pictures belong in {folder.name}/<class>/")
    return Files(folder, classes)
