"""What sources share that read a store in place of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.splits.store_match import Placed, find, over
from accel.data.stores.packed_store import Packed
from accel.parts.input import Source

if TYPE_CHECKING:
    from accel.parts.run import Run


class Stored(Source):
    """Reads the records of a store in place of the files of SPLIT/. `path` is a field of each subclass."""

    path: str
    store: ClassVar[type[Packed]]
    """Opens the file of a split, where it is one of `python -m accel pack`."""

    def setup(self, run: Run) -> None:
        self.found: dict[str, str] = {}
        self.foreign = ""

    def open(self, data: Any, split: str) -> Any:
        if not hasattr(data, "over"):
            self.foreign = type(data).__name__
            return data
        store = self.place(data, split)
        placed = over(data, store)
        self.found[f"{split} store"] = store.describe()
        return placed

    def place(self, data: Any, split: str) -> Placed:
        """The store of a split. Raises ConfigError where there is none."""
        return type(self).store(find(data, split, self.path, self.name))

    def notes(self) -> Mapping[str, str]:
        return self.found

    def idle(self, run: Run) -> list[str]:
        return [f"{self.name} has no effect: the data is a {self.foreign}, which reads from no store"] if self.foreign else []
