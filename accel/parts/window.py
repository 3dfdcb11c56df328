from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from accel.data.batches.counted import counted
from accel.data.batches.structure import split_batch
from accel.parts.part import Part


class Micro(NamedTuple):
    """One micro-batch of a window."""

    batch: Any
    samples: int
    """How many samples it holds; 0 for one that only lets a rank take part."""
    weight: float
    """Its part of the window: items / sum of items. 1.0 exactly where it is the whole window."""
    last: bool
    """Whether it is the last real one of its window, where ranks synchronise."""

    def pieces(self, size: int, items: int) -> list[Micro]:
        """The same as micro-batches of at most `size` samples, for a window of `items`.

        Raises:
            TypeError: for a batch that cannot be cut, in words.
        """
        if self.samples <= size:
            return [self]
        counts = [min(size, self.samples - start) for start in range(0, self.samples, size)]
        parts = zip(split_batch(self.batch, self.samples, size), counts, strict=True)
        end = len(counts) - 1
        return [Micro(part, count, count / items, self.last and number == end) for number, (part, count) in enumerate(parts)]


class Window(NamedTuple):
    """The micro-batches of one update."""

    micros: Iterable[Micro]
    """In order; read once."""
    batches: int
    """How many they are."""
    samples: int
    """How many samples they hold together, over all ranks."""


@dataclass(eq=False)
class Group(Part):
    """How many micro-batches make one update; plainest: one."""

    resumed_size: ClassVar[int | None] = None
    """How many they are instead, where a run goes on with another number of ranks."""

    @property
    def configured_size(self) -> int:
        """Micro-batches per full window, as the settings have it."""
        return 1

    @property
    def size(self) -> int:
        """Micro-batches per full window."""
        return self.resumed_size or self.configured_size

    def resize(self, size: int) -> None:
        """From now on a full window has so many."""
        self.resumed_size = size  # type: ignore[misc]

    def windows(self, batches: Iterator[Any]) -> Iterator[Window]:
        """The batches in windows; the last window of an epoch may be short, and is a window."""
        if self.size > 1:
            yield from self._windows(batches)
            return
        for batch in batches:
            plain, items, whole = counted(batch)
            yield Window((Micro(plain, items, 1.0, True),), 1, whole)

    def _windows(self, batches: Iterator[Any]) -> Iterator[Window]:
        while window := [counted(batch) for batch in islice(batches, self.size)]:
            items, last = sum(batch.samples for batch in window), len(window) - 1
            micros = (Micro(batch, count, count / items if last else 1.0, i == last) for i, (batch, count, _) in enumerate(window))
            yield Window(tuple(micros), len(window), sum(batch.global_samples for batch in window))
