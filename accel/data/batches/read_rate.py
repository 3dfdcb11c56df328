"""Meter of the rate at which samples are read, while they are read."""

from __future__ import annotations

__all__ = ["ReadRateMeter"]


class ReadRateMeter:
    """Samples read, and the seconds that reading them took, without any waiting for their consumer.

    Several readers work side by side, so each second of one of `n` counts as 1/n.
    """

    def __init__(self) -> None:
        self.samples, self.seconds = 0, 0.0

    def add(self, samples: int, seconds: float) -> None:
        """Add one batch: its samples and the seconds of reading. Called by one thread at a time."""
        self.samples += samples
        self.seconds += seconds

    @property
    def rate(self) -> float | None:
        """Samples per second; None if nothing was measured."""
        return self.samples / self.seconds if self.seconds else None
