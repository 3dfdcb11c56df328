"""A data set put over its store: the same samples in the same order, or a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from accel.data.remote.block_cache import local_copy
from accel.data.remote.fsspec_client import is_url
from accel.data.splits.find_shards import sibling_folder
from accel.data.store import Listed, Store
from accel.errors import ConfigError

__all__ = ["SplitStore", "difference", "locate_store", "read_from"]


class SplitStore(Listed, Protocol):
    """A store that can stand in for the files of a folder."""

    path: Any
    """Where it is."""

    @property
    def named(self) -> bool:
        """Whether its classes and keys are those of a folder; else only labels can be compared."""
        ...

    @property
    def skipped(self) -> Sequence[str]:
        """The keys of the pictures that were left out when it was made."""
        ...

    def describe(self) -> str:
        """For the plan: how much is in it, and whether these are the pictures that were packed."""
        ...


def locate_store(data: Any, split: str, path: str, format: str) -> Path:
    """The store of a split: in the folder `path`, at the URL `path`, or, where that is auto, beside what the data set reads.

    Raises:
        ConfigError: where there is none, with the command that makes it.
    """
    folder: Path | None = getattr(data.store, "folder", None)
    if is_url(path):
        return local_copy(f"{path.rstrip('/')}/{split}.{format}")
    if path != "auto":
        place = Path(path).expanduser()
    elif sibling_folder(data) and not is_url(sibling_folder(data)):
        place = Path(sibling_folder(data))
    else:
        raise ConfigError(f"{format}.path=auto: the {split} data is in no folder, beside which a store would be; say where it is")
    file = place / f"{split}.{format}"
    if not file.is_file():
        make = "" if folder is None else f"; make it with: python -m accel pack {folder.parent} {place} --format {format}"
        elsewhere = f", or say where it is with {format}.path=DIR" if path == "auto" else ""
        raise ConfigError(f"{format}: there is no {file}{make}{elsewhere}")
    return file


def read_from(data: Any, store: SplitStore) -> Any:
    """The data set, reading from `store`.

    Raises:
        ConfigError: where the store is of another data set: another class, picture, label or order.
    """
    if odd := difference(store, data.store):
        raise ConfigError(f"{odd}; pack the data set again, or name its own store")
    return data.over(store)


def difference(store: SplitStore, other: Store) -> str:
    """The first thing in which a store and what it was to be packed from differ, in words; empty where nothing does."""
    where = getattr(other, "folder", None) or getattr(other, "path", None) or f"the {type(other).__name__}"
    classes = getattr(other, "classes", store.classes)
    if store.named and classes != store.classes:
        return f"the store {store.path} has the classes {_few(store.classes)}, and {where} has {_few(classes)}"
    left_out = set(store.skipped)
    key = getattr(other, "key", None)
    if key is None or not left_out:
        numbers = list(range(len(other)))
    else:
        numbers = [number for number in range(len(other)) if key(number) not in left_out]
    if len(numbers) != len(store):
        less = f" ({len(left_out)} were left out)" if left_out else ""
        return f"the store {store.path} has {len(store):,} pictures{less}, and {where} has {len(other):,}"
    for record, number in enumerate(numbers):
        if key is not None and store.named and store.key(record) != key(number):
            return f"record {record} of the store {store.path} is {store.key(record)}, and in {where} it is {key(number)}"
        if store.label(record) != other.label(number):
            return f"{store.name(record)} has label {store.label(record)}, and {other.name(number)} has {other.label(number)}"
    return ""


def _few(classes: list[str]) -> str:
    return f"{', '.join(classes[:3])}{', ...' * (len(classes) > 3)} ({len(classes)})"
