"""Base of the sources that read a store in place of a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from accel.data.splits.path_patterns import SplitNotFound
from accel.data.splits.shard_settings import DEFAULTS, ShardSettings
from accel.data.splits.store_match import SplitStore, locate_store, read_from
from accel.data.stores.packed_store import PackedStore
from accel.parts.input import Source
from accel.parts.run import Run

__all__ = ["Opened", "StoreSource", "opened_or_new"]

Opened = TypeVar("Opened")


def opened_or_new(kind: Callable[..., Opened], data: Any, *given: Any) -> Opened:
    """Return the store that the task has opened with the same arguments for `data`, or else a new one, `kind(*given)`."""
    store: Any = getattr(data, "store", None)
    return store if type(store) is kind and store.made_of == given else kind(*given)


class StoreSource(Source):
    """Source that reads the records of a store in place of the files of SPLIT/. `path` is a field of each subclass."""

    path: str = "auto"
    store: ClassVar[type[PackedStore]]
    """Class of the stores that it opens, as `python -m accel pack` makes them."""

    def setup(self, run: Run) -> None:
        self.descriptions: dict[str, str] = {}
        self.unsupported = ""

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over"):
            self.unsupported = type(data).__name__
            return data
        store = self.store_of(data, split)
        dataset = read_from(data, store)
        self.descriptions[f"{split} store"] = store.describe()
        return dataset

    def store_of(self, data: Any, split: str) -> SplitStore:
        """Return the store of a split. Raise ConfigError if there is none. `data` is None if only `path` says where it is."""
        return type(self).store(locate_store(data, split, self.path, self.name))

    def shard_settings(self) -> ShardSettings:
        """Return how files of other tools are read, also by a task that opens its data itself."""
        return DEFAULTS

    def named_store(self, split: str) -> SplitStore | None:
        """Return the store of a split that `path` names, for a task whose own folder has none; None if there is none."""
        if self.path == "auto":
            return None
        try:
            return self.store_of(None, split)
        except SplitNotFound:
            return None

    def plan_notes(self) -> Mapping[str, str]:
        return self.descriptions

    def ineffective_settings(self, run: Run) -> list[str]:
        return (
            [f"{self.name} has no effect: the data is a {self.unsupported}, which reads from no store"] if self.unsupported else []
        )
