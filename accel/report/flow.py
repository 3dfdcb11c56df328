"""Whether the training waited for its data."""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.report.formatting import short

BOUND, LONG = 10.0, 1.0
"""A run is data-bound where so many percent of its training were spent waiting, and so many seconds at least."""


@dataclass
class Flow:
    """How the data came through.

    Args:
        wait: percent of the training time (evaluation, checkpoints and reports left out) that was spent waiting for data.
        waited: the same in seconds.
        rate: samples per second of training.
        ceiling: samples per second that the loader made while it was busy, beside the training; None where it was not measured.
        tries: what might help, as it is typed; empty where nothing needs to.
    """

    wait: float
    waited: float
    rate: float
    ceiling: float | None = None
    tries: list[str] = field(default_factory=list)

    @property
    def bound(self) -> bool:
        """Whether waiting for data is worth doing something about."""
        return self.wait >= BOUND and self.waited >= LONG

    def text(self) -> str:
        """In a sentence."""
        alone = "" if self.ceiling is None else f", and reading alone makes {short(self.ceiling)}"
        what = "data-bound" if self.bound else "too short to tell" if self.wait >= BOUND else "not data-bound"
        return f"{what}: {self.wait:.1f} % of the training waited for data; {short(self.rate)} samples/s came through{alone}"
