"""What sources share that read a store in place of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.splits.store_match import SplitStore, locate_store, read_from
from accel.data.stores.packed_store import PackedStore
from accel.parts.input import Source

if TYPE_CHECKING:
    from accel.parts.run import Run


class StoreSource(Source):
    """Reads the records of a store in place of the files of SPLIT/. `path` is a field of each subclass."""

    path: str
    store: ClassVar[type[PackedStore]]
    """Opens the file of a split, where it is one of `python -m accel pack`."""

    def setup(self, run: Run) -> None:
        self.found: dict[str, str] = {}
        self.unsupported = ""

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over"):
            self.unsupported = type(data).__name__
            return data
        store = self.store_of(data, split)
        placed = read_from(data, store)
        self.found[f"{split} store"] = store.describe()
        return placed

    def store_of(self, data: Any, split: str) -> SplitStore:
        """The store of a split. Raises ConfigError where there is none."""
        return type(self).store(locate_store(data, split, self.path, self.name))

    def plan_notes(self) -> Mapping[str, str]:
        return self.found

    def ineffective_settings(self, run: Run) -> list[str]:
        return (
            [f"{self.name} has no effect: the data is a {self.unsupported}, which reads from no store"] if self.unsupported else []
        )
