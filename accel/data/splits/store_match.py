"""Match of a data set and a store: the same samples in the same order, or an error that names the first difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from accel.data.remote.block_cache import local_copy
from accel.data.remote.fsspec_client import is_url
from accel.data.splits.find_shards import sibling_folder
from accel.data.splits.lmdb_files import DATA_FILE, find_lmdb, lmdb_file
from accel.data.splits.path_patterns import SplitNotFound
from accel.data.store import KeyedStore, Store
from accel.errors import ConfigError, listed
from accel.system.shell_quoting import command_line

__all__ = ["SplitStore", "difference", "locate_store", "read_from"]


class SplitStore(KeyedStore, Protocol):
    """Store that can stand in for the files of a folder."""

    path: Any
    """File, folder or URL of the store."""

    @property
    def named(self) -> bool:
        """Whether its classes and keys are those of a folder; otherwise only labels can be compared."""
        ...

    @property
    def skipped(self) -> Sequence[str]:
        """Keys of the pictures that were left out when the store was made."""
        ...

    def describe(self) -> str:
        """Return a line for the plan: number and size of records, and how the pictures differ from the source's."""
        ...


def locate_store(data: Any, split: str, path: str, format: str) -> Path:
    """Return the file of a split's packed store.

    Args:
        data: Data set beside whose folder the store is searched if `path` is auto.
        split: Name of the split.
        path: auto, a folder, a URL, from which the file is fetched, or (of lmdb) a file or its folder, with SPLIT for the split.
        format: lmdb or raw.

    Raises:
        ConfigError: If there is no such file, with the command that makes it.
    """
    folder: Path | None = getattr(getattr(data, "store", None), "folder", None)
    if is_url(path):
        return local_copy(f"{path.rstrip('/')}/{split}.{format}")
    if "SPLIT" in path and format == "lmdb":
        place = Path(path.replace("SPLIT", split)).expanduser()
        if (named := lmdb_file(place)) is None:
            raise SplitNotFound(f"lmdb.path={path}: there is no {place}, nor {place / DATA_FILE}")
        return named
    if path != "auto":
        place = Path(path).expanduser()
    elif sibling_folder(data) and not is_url(sibling_folder(data)):
        place = Path(sibling_folder(data))
    else:
        raise ConfigError(f"{format}.path=auto: the {split} data is in no folder, beside which a store would be; say where it is")
    file = place / f"{split}.{format}"
    if format == "lmdb" and (lmdb_path := find_lmdb(place, split)) is not None:
        return lmdb_path
    if not file.is_file():
        paths = "" if folder is None else command_line([str(folder.parent), str(place)])
        make = "" if folder is None else f"; make it with: python -m accel pack {paths} --format {format}"
        elsewhere = f", or say where it is with {format}.path=DIR" if path == "auto" else ""
        raise SplitNotFound(f"{format}: there is no {file}{make}{elsewhere}")
    return file


def read_from(data: Any, store: SplitStore) -> Any:
    """Return the data set, reading from `store`.

    Raises:
        ConfigError: If the store is of another data set: another class, picture, label or order.
    """
    if reason := difference(store, data.store):
        raise ConfigError(f"{reason}; pack the data set again, or name its own store")
    return data.over(store)


def difference(store: SplitStore, source: Store) -> str:
    """Return the first difference of a store and the store that it was packed from, in words; empty if there is none."""
    where = getattr(source, "folder", None) or getattr(source, "path", None) or f"the {type(source).__name__}"
    classes = getattr(source, "classes", store.classes)
    if store.named and classes != store.classes:
        return f"the store {store.path} has the classes {listed(store.classes, 3)}, and {where} has {listed(classes, 3)}"
    left_out = set(store.skipped)
    key = getattr(source, "key", None)
    if key is None or not left_out:
        numbers = list(range(len(source)))
    else:
        numbers = [number for number in range(len(source)) if key(number) not in left_out]
    if len(numbers) != len(store):
        less = f" ({len(left_out)} were left out)" if left_out else ""
        return f"the store {store.path} has {len(store):,} pictures{less}, and {where} has {len(source):,}"
    for record, number in enumerate(numbers):
        if key is not None and store.named and store.key(record) != key(number):
            return f"record {record} of the store {store.path} is {store.key(record)}, and in {where} it is {key(number)}"
        if store.label(record) != source.label(number):
            return f"{store.name(record)} has label {store.label(record)}, and {source.name(number)} has {source.label(number)}"
    return ""
