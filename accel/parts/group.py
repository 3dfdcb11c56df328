from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from accel.data.items import count_items
from accel.parts.part import Part


class Micro(NamedTuple):
    """One micro-batch of a window."""

    batch: Any
    items: int
    """How many samples it holds."""
    share: float
    """Its part of the window: items / sum of items. 1.0 exactly where it is the whole window."""
    last: bool
    """Whether it is the last real one of its window, where ranks synchronise."""


class Window(NamedTuple):
    """The micro-batches of one update."""

    micros: Iterable[Micro]
    """In order; read once."""
    batches: int
    """How many they are."""
    items: int
    """How many samples they hold together."""


@dataclass(eq=False)
class Group(Part):
    """How many micro-batches make one update; plainest: one."""

    @property
    def size(self) -> int:
        """Micro-batches per full window."""
        return 1

    def windows(self, batches: Iterator[Any]) -> Iterator[Window]:
        """The batches in windows; the last window of an epoch may be short, and is a window."""
        for batch in batches:
            items = count_items(batch)
            yield Window((Micro(batch, items, 1.0, True),), 1, items)
