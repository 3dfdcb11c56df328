"""What `python -m accel pack` is given, and the files it makes of it."""

from __future__ import annotations

import re
from pathlib import Path

from accel.data.remote import fsspec_client
from accel.data.shards.webdataset_shards import Tars
from accel.data.splits.find_shards import TARS, TFRECORDS, compressed, is_shard
from accel.data.splits.open_split import NAMES, packed_at, shards_of, split_at
from accel.data.splits.path_patterns import expand
from accel.data.store import Files, Listed, class_names
from accel.data.stores.formats import FORMATS, store_at
from accel.errors import ConfigError

__all__ = ["Jobs", "targets"]

Jobs = list[tuple[Listed, Path]]


def targets(source: str, target: Path, format: str) -> Jobs:
    """What is to be packed into which file.

    Raises:
        ConfigError: where `source` is nothing that can be packed, or `target` nothing that it can be packed into.
        TrainingError: where a URL cannot be reached.
    """
    far = fsspec_client.is_url(source)
    source = source.rstrip("/") if far else str(Path(source).expanduser())
    names = _shards(source)
    if names:
        return _of_shards(names, target, format)
    name = source.rpartition("/")[2] if far else Path(source).resolve().name
    if re.search(r"\.(lmdb|raw)$", source) if far else Path(source).is_file():
        store = packed_at(source) if far else store_at(Path(source))
        len(store)  # what cannot be read says so before anything begins
        return [(store, _file(target, name.rpartition(".")[0], format))]
    if not far and not Path(source).is_dir():
        raise ConfigError(f"{source}: there is no such folder or store")
    splits = {split: found for split in NAMES if (found := _split(source, split)) is not None}
    if splits:
        return _several(source, splits, target, format)
    if far:
        from accel.data.remote.block_cache import BlockCache
        from accel.data.remote.remote_files import RemoteFolder

        return [(RemoteFolder(source, BlockCache()), _file(target, name, format))]
    return [(_files(Path(source)), _file(target, name, format))]


def _shards(source: str) -> list[str]:
    """The files of a pattern, or the one named, where it is a tar or TFRecord file by its name."""
    kinds = TARS + TFRECORDS
    if re.search(r"[*?\[{]", source) and not Path(source).exists():
        names = expand(source)
        odd = next((name for name in names if not is_shard(name, kinds + compressed(kinds))), None)
        if odd is not None:
            raise ConfigError(f"{odd}: a pattern names tar or TFRecord files ({', '.join(kinds)}), and that is none by its name")
        return names
    there = fsspec_client.is_url(source) or Path(source).is_file()
    return [source] if there and is_shard(source, kinds + compressed(kinds)) else []


def _of_shards(names: list[str], target: Path, format: str) -> Jobs:
    store = shards_of(names)
    if isinstance(store, Tars) and store.named and set(store.classes) <= set(NAMES):  # the folders are those of the splits
        splits: dict[str, Listed] = {split: Tars(names, inside=f"{store.home}{split}/") for split in store.classes}
        return _several(names[0], splits, target, format)
    name = re.split(r"\.|[-_]?\d", names[0].rpartition("/")[2])[0]
    return [(store, _file(target, name or "train", format))]


def _several(source: str, splits: dict[str, Listed], target: Path, format: str) -> Jobs:
    if target.suffix[1:] in FORMATS:
        raise ConfigError(f"{source} has {len(splits)} splits ({', '.join(splits)}), each of which becomes a file; name a folder")
    return [(store, target / f"{split}.{format}") for split, store in splits.items()]


def _split(source: str, split: str) -> Listed | None:
    if not fsspec_client.is_url(source) and (Path(source) / split).is_dir():
        return split_at(source, split) or _files(Path(source) / split)
    return split_at(source, split)


def _file(target: Path, name: str, format: str) -> Path:
    suffix = target.suffix[1:]
    if suffix in FORMATS and suffix != format:
        raise ConfigError(f"{target} ends in .{suffix}, and --format is {format}; make them the same")
    return target if suffix == format else target / f"{name}.{format}"


def _files(folder: Path) -> Files:
    classes = class_names(folder)
    if not classes:
        raise ConfigError(f"{folder} has no class folders; its pictures belong in {folder.name}/<class>/")
    return Files(folder, classes)
