from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accel.parts.part import Part


@dataclass(eq=False)
class Prefetch(Part):
    """How far ahead batches are read; plainest: not at all."""

    def identity(self) -> None:
        """Nothing."""

    def ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches in the same order."""
        return batches

    def close(self) -> None:
        """Ends what reads ahead, when the run ends, however it ends."""
