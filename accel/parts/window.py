"""Windows: the micro-batches of one update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

from accel.data.batches.counted import counted
from accel.data.batches.structure import split_batch
from accel.parts.part import Part
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = ["Group", "Micro", "Window"]


class Micro(NamedTuple):
    """Micro-batch of a window."""

    batch: Any
    samples: int
    """Number of samples; 0 for a batch that only lets a rank take part."""
    weight: float
    """Share of the window: its samples / all samples. Exactly 1.0 if it is the whole window."""
    last: bool
    """Whether it is the last real micro-batch of its window, in which ranks synchronise."""
    doubt: str = ""
    """Why the number of samples is a guess, in words; empty if it is known, or if nothing depends on it."""

    def pieces(self, size: int, total: int) -> list[Micro]:
        """Return the same as micro-batches of at most `size` samples.

        Args:
            size: samples per piece, at most.
            total: samples of the whole window, by which weights are computed.

        Raises:
            TypeError: for a batch that cannot be cut, in words.
        """
        if self.samples <= size:
            return [self]
        counts = [min(size, self.samples - start) for start in range(0, self.samples, size)]
        parts = zip(split_batch(self.batch, self.samples, size), counts, strict=True)
        end = len(counts) - 1
        return [Micro(part, count, count / total, self.last and number == end) for number, (part, count) in enumerate(parts)]


class Window(NamedTuple):
    """Micro-batches of one update."""

    micros: Iterable[Micro]
    """Micro-batches in order; to be iterated over once."""
    batches: int
    """Number of micro-batches."""
    samples: int
    """Number of samples, over all ranks."""


# outside of the classes, whose bodies may hold fields and methods only
Micro.items = Window.items = MovedAttribute("samples", "items")  # type: ignore[attr-defined]
Micro.share = MovedAttribute("weight", "share")  # type: ignore[attr-defined]


@dataclass(eq=False)
class Group(Part):
    """Grouping of micro-batches to updates; plainest: one micro-batch per update."""

    resumed_size: ClassVar[int | None] = None
    """Micro-batches per window, if a run goes on with another number of ranks; else None."""

    other = MovedAttribute("resumed_size")
    asked = MovedAttribute("configured_size")

    @property
    def configured_size(self) -> int:
        """Micro-batches per full window, by the settings."""
        return 1

    @property
    def size(self) -> int:
        """Micro-batches per full window."""
        return self.resumed_size or self.configured_size

    def resize(self, size: int) -> None:
        """Set the micro-batches per full window."""
        self.resumed_size = size  # type: ignore[misc]

    def windows(self, batches: Iterator[Any]) -> Iterator[Window]:
        """Yield the batches in windows. The last window of an epoch may be short."""
        if self.size > 1:
            yield from self._windows(batches)
            return
        for batch in batches:
            one = counted(batch)
            yield Window((Micro(one.batch, one.samples, 1.0, True, one.doubt if one.unequal else ""),), 1, one.global_samples)

    def _windows(self, batches: Iterator[Any]) -> Iterator[Window]:
        while window := [counted(batch) for batch in islice(batches, self.size)]:
            samples, last = sum(batch.samples for batch in window), len(window) - 1
            doubt = next((batch.doubt for batch in window if batch.doubt), "")
            outlines = {batch.outline for batch in window}
            if len(outlines) == 1 and None not in outlines and not any(batch.unequal for batch in window):
                doubt = ""  # as many samples each, however many that are
            micros = (
                Micro(batch.batch, batch.samples, batch.samples / max(1, samples) if last else 1.0, place == last, doubt)
                for place, batch in enumerate(window)
            )
            yield Window(tuple(micros), len(window), sum(batch.global_samples for batch in window))
