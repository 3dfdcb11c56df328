"""How fast samples can be read, measured while they are."""

from __future__ import annotations

__all__ = ["Meter"]


class Meter:
    """Samples read, and the seconds that reading them took, without any waiting for whoever takes them.

    Several readers work side by side, so each second of one of `n` counts as 1/n.
    """

    def __init__(self) -> None:
        self.samples, self.seconds = 0, 0.0

    def add(self, samples: int, seconds: float) -> None:
        """Of one batch. Called by one thread at a time."""
        self.samples += samples
        self.seconds += seconds

    @property
    def rate(self) -> float | None:
        """Samples per second; None where nothing was measured."""
        return self.samples / self.seconds if self.seconds else None
